//! Models that are another one with something changed.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use skimlm_core::{Model, Projected, Result, Rotary, Shape, Which};
use skimlm_models::Decoder;

/// What happens to the keys `[rows, kv_heads, dim]` of a layer.
type Change = Box<dyn Fn(usize, Tensor) -> Tensor + Send + Sync>;

pub(crate) struct Changed {
    model: Decoder,
    shape: Shape,
    keys: Change,
    /// Longer texts are turned more slowly.
    original: usize,
    /// The lengths of text that rotations were asked for.
    pub(crate) lengths: Arc<Mutex<Vec<usize>>>,
}

impl Changed {
    fn new(model: Decoder, keys: Change) -> Self {
        Self { shape: model.shape().clone(), model, keys, original: usize::MAX, lengths: Arc::default() }
    }

    /// All keys are 0, so every raw score is.
    pub(crate) fn flat(model: Decoder) -> Self {
        Self::new(model, Box::new(|_, k| k.zeros_like().unwrap()))
    }

    /// A number of one row's key in one layer is `value`. Needs the whole prompt in one chunk.
    pub(crate) fn broken(model: Decoder, layer: usize, row: usize, value: f32) -> Self {
        let keys = move |at: usize, k: Tensor| {
            if at != layer || row >= k.dims()[0] {
                return k;
            }
            let (dims, mut all) = (k.dims().to_vec(), k.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            all[row * dims[1] * dims[2]] = value;
            Tensor::from_vec(all, dims, &Device::Cpu).unwrap()
        };
        Self::new(model, Box::new(keys))
    }

    /// Texts of more than `original` positions are turned more slowly, as with LongRoPE.
    pub(crate) fn stretched(model: Decoder, original: usize) -> Self {
        Self { original, ..Self::new(model, Box::new(|_, k| k)) }
    }

    /// Some layers see a window only.
    pub(crate) fn windowed(model: Decoder, windows: &[Option<u32>]) -> Self {
        let mut changed = Self::new(model, Box::new(|_, k| k));
        changed.shape.layers.iter_mut().zip(windows).for_each(|(layer, &window)| layer.window = window);
        changed
    }
}

impl Model for Changed {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &Device {
        self.model.device()
    }

    fn rotaries(&self, length: usize) -> Vec<Rotary> {
        self.lengths.lock().unwrap().push(length);
        let mut rotaries = self.model.rotaries(length);
        if length > self.original {
            rotaries.iter_mut().flat_map(|rotary| &mut rotary.inv_freq).for_each(|frequency| *frequency /= 4.0);
        }
        rotaries
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.model.embed(ids)
    }

    fn project(&self, layer: usize, x: &Tensor, which: Which) -> Result<Projected> {
        let mut projected = self.model.project(layer, x, which)?;
        projected.k = projected.k.map(|k| (self.keys)(layer, k));
        Ok(projected)
    }

    fn finish(&self, layer: usize, x: &Tensor, attended: Tensor) -> Result<Tensor> {
        self.model.finish(layer, x, attended)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.model.head(x)
    }
}
