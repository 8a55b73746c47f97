//! The KV cache: entries per layer and, where heads differ, per head, each with its own position.

mod ahead;
mod bank;
mod layer;

pub use ahead::LayerAhead;
pub use bank::Bank;
pub use layer::LayerCache;

use candle_core::{DType, Device};

use skimlm_kernels::rope::Rotary;

use crate::error::{Code, Error, Result};
use crate::model::Shape;
use crate::policy::{Among, Keep};

/// Rotated keys and values of every layer. Grown by appending, or by [`KvCache::note`] of a step that a device has
/// done; shrunk by [`KvCache::keep`], which may renumber what stays; nothing else.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
}

impl KvCache {
    /// An empty cache with room for `capacity` entries a layer; it grows beyond when it must.
    /// `dtype` is a type of [`skimlm_kernels::cached`]: f32, f16, bf16 or blocks of 8-bit integers.
    ///
    /// `ERR_INVALID_ARG` where heads have no whole blocks, `ERR_DEVICE` for another type, `ERR_OUT_OF_MEMORY` where a GPU
    /// has no room.
    pub fn new(shape: &Shape, dtype: DType, device: &Device, capacity: usize) -> Result<Self> {
        let layers =
            shape.layers.iter().map(|_| LayerCache::new(shape, dtype, device, capacity)).collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// Layers that were made elsewhere; `ERR_INVALID_ARG` unless they are as many as the model has.
    pub fn from_layers(shape: &Shape, layers: Vec<LayerCache>) -> Result<Self> {
        if layers.len() != shape.layers.len() {
            let message = format!("{} layers of entries; the model has {}.", layers.len(), shape.layers.len());
            return Err(Error::new(Code::InvalidArg, message));
        }
        Ok(Self { layers })
    }

    /// The entries of a layer; `ERR_INTERNAL` if there is no such layer.
    pub fn layer(&self, layer: usize) -> Result<&LayerCache> {
        let count = self.layers.len();
        self.layers.get(layer).ok_or_else(|| no_layer(layer, count))
    }

    /// The entries of a layer, to append to; `ERR_INTERNAL` if there is no such layer.
    pub fn layer_mut(&mut self, layer: usize) -> Result<&mut LayerCache> {
        let count = self.layers.len();
        self.layers.get_mut(layer).ok_or_else(|| no_layer(layer, count))
    }

    /// Drops all entries of some layers but the selected ones; where many go, their memory is freed. `rows` is the
    /// number of rows of the pass that the selection may count ([`Among::Rows`]); `rotary` gives each
    /// layer's rotation, for keys that move.
    ///
    /// Errors as in [`LayerCache::keep`] and [`LayerCache::keep_of_rows`], and `ERR_INTERNAL` for a layer or a rotation
    /// that is not there.
    pub fn keep(&mut self, keep: &Keep, rows: usize, rotary: &dyn Fn(usize) -> Option<Rotary>) -> Result<()> {
        for layer in keep.layers.clone() {
            let cache = self.layer_mut(layer)?;
            match keep.among {
                Among::Entries => cache.keep(&keep.entries)?,
                Among::Rows => cache.keep_of_rows(&keep.entries, rows)?,
            }
            if keep.renumber {
                let rotary = rotary(layer).ok_or_else(|| {
                    Error::new(Code::Internal, format!("layer {layer} has no rotation to renumber by."))
                })?;
                cache.renumber(&rotary)?;
            }
        }
        Ok(())
    }

    /// Entries of each layer (of the longest head, where heads differ).
    pub fn lengths(&self) -> Vec<usize> {
        self.layers.iter().map(LayerCache::len).collect()
    }

    /// The first layer with a key or value that is NaN or infinite. Fails only where a tensor operation does.
    pub fn first_broken(&self) -> Result<Option<usize>> {
        for (layer, cache) in self.layers.iter().enumerate() {
            for bank in cache.banks() {
                if !bank.is_finite()? {
                    return Ok(Some(layer));
                }
            }
        }
        Ok(None)
    }

    /// Bytes of keys and values in use.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    /// An independent copy: what is appended to one is not seen by the other. `ERR_OUT_OF_MEMORY`
    /// where a GPU has no room for it.
    pub fn fork(&self) -> Result<Self> {
        Ok(Self { layers: self.layers.iter().map(LayerCache::fork).collect::<Result<_>>()? })
    }
}

fn no_layer(layer: usize, count: usize) -> Error {
    Error::new(Code::Internal, format!("the cache has {count} layers, there is no layer {layer}."))
}
