use candle_core::{DType, Tensor};

use super::{Form, Heads, Keys, asked, weights};
use crate::attention::cuda::Seen;
use crate::attention::{Sizes, Visibility};
use crate::error::{Error, Result, invalid};
use crate::gpu::{Arg, Gpu, Launch, SLICES, THREADS, TILE, finite, in_pieces, name_of, require_f32, small};

/// What the kernels call the ways to make a row of the answer.
const ADD: u32 = 0;
const EACH: u32 = 1;
const LARGEST: u32 = 2;

/// As the contract of `scores`, with a score that is not finite named.
pub(crate) fn scores(
    gpu: &impl Gpu,
    q: &Tensor,
    positions: &[u32],
    keys: Keys<'_>,
    scale: f32,
    form: Form,
    visibility: Visibility,
    heads: &Heads,
    sizes: Sizes,
) -> Result<Tensor> {
    require_f32("scores", &[q])?;
    let entries = keys.positions.len();
    let rows = heads.rows(sizes.heads, sizes.kv_heads);
    let out = gpu.zeros((rows, entries), DType::F32)?;
    if entries == 0 || sizes.rows == 0 {
        return Ok(out);
    }
    // Flat indices of the answer are 32 bits.
    small("scores", "the number of scores", rows * entries)?;
    let bad = gpu.upload(vec![u32::MAX])?;
    match form {
        Form::Raw => raw(gpu, q, keys, scale, heads, sizes, &out, &bad)?,
        Form::Softmax => {
            let seen = Seen::of(gpu, visibility, positions, keys.positions, &[])?;
            let sums = column_sums(gpu, q, keys, scale, &seen, sizes)?;
            combine(gpu, &sums, heads, sizes, entries, &out, &bad)?;
        }
    }
    finite("scores", &out, &bad).map(|()| out)
}

fn raw(
    gpu: &impl Gpu,
    q: &Tensor,
    keys: Keys<'_>,
    scale: f32,
    heads: &Heads,
    sizes: Sizes,
    out: &Tensor,
    bad: &Tensor,
) -> Result<()> {
    let Sizes { rows, heads: all, kv_heads, capacity, dim } = sizes;
    let (each, how) = match heads {
        Heads::Sum | Heads::Mean | Heads::Listed(_) => (1, ADD),
        Heads::EachKv => (1, EACH),
        Heads::Each => (sizes.group(), EACH),
        Heads::Max => (sizes.group(), LARGEST),
    };
    let number = |what, value| Ok::<_, Error>(Arg::U32(small("scores", what, value)?));
    let weights = weights(heads, sizes);
    let asked = gpu.upload(asked(&weights, sizes).map(u32::from).collect())?;
    let weights = gpu.upload(weights)?;
    let folded = gpu.zeros((kv_heads * each, dim), DType::F32)?;
    let args = vec![
        Arg::In(q),
        Arg::In(&weights),
        Arg::Out(&folded),
        number("the number of rows", rows)?,
        number("the number of heads", all)?,
        number("the head size", dim)?,
        Arg::U32(sizes.group() as u32),
        Arg::U32(each as u32),
        Arg::F32(scale),
    ];
    gpu.launch(Launch::new("scores_fold", [kv_heads * each, 1, 1], 128, args))?;

    let shared = kv_heads * each * dim * 4;
    if shared > 96 * 1024 {
        return invalid("scores", format!("{} queries of {dim} do not fit a GPU's shared memory", kv_heads * each));
    }
    let name = name_of("scores", keys.k.dtype())?;
    let (kernel, pieces) = match in_pieces(keys.k, dim) {
        true => (format!("scores_raw_{name}"), dim * keys.k.dtype().size_in_bytes() / 16),
        false => (format!("scores_raw_{name}_single"), dim),
    };
    let lanes = pieces.next_power_of_two().min(32);
    let entries = keys.positions.len();
    let blocks = entries.div_ceil(THREADS / lanes).min(gpu.processors() * 8);
    let args = vec![
        Arg::In(&folded),
        Arg::In(&asked),
        Arg::In(keys.k),
        Arg::Out(out),
        Arg::Out(bad),
        Arg::U32(entries as u32),
        number("the capacity", capacity)?,
        Arg::U32(kv_heads as u32),
        Arg::U32(dim as u32),
        Arg::U32(each as u32),
        Arg::U32(lanes as u32),
        Arg::U32(how),
    ];
    gpu.launch(Launch::new(kernel, [blocks, 1, 1], THREADS, args).with_shared(shared))
}

/// For every head and entry the sum of the rows' softmax weights, `[heads, entries]`.
fn column_sums(gpu: &impl Gpu, q: &Tensor, keys: Keys<'_>, scale: f32, seen: &Seen, sizes: Sizes) -> Result<Tensor> {
    let Sizes { rows, heads, capacity, dim, .. } = sizes;
    let (entries, name) = (keys.positions.len(), name_of("scores", keys.k.dtype())?);
    let tiles = rows.div_ceil(TILE);
    // Few rows would leave most of the GPU idle: their entries are shared out.
    let shares = (2 * gpu.processors()).div_ceil(tiles * heads).min(entries.div_ceil(4 * TILE)).clamp(1, 64);
    let totals = gpu.zeros((shares, heads, rows), DType::F32)?;
    let sums = gpu.zeros((heads, entries), DType::F32)?;
    let scale = scale * std::f32::consts::LOG2_E;
    let number = |what, value| Ok::<_, Error>(Arg::U32(small("scores", what, value)?));
    let read = || vec![Arg::In(q), Arg::In(keys.k), Arg::In(&seen.from), Arg::In(&seen.to)];
    let measure = || -> Result<Vec<Arg<&Tensor>>> {
        Ok(vec![
            number("the number of rows", rows)?,
            number("the number of heads", heads)?,
            number("the head size", dim)?,
            Arg::U32(sizes.group() as u32),
            number("the capacity", capacity)?,
            Arg::U32(entries as u32),
        ])
    };
    let mut args = read();
    args.push(Arg::Out(&totals));
    args.extend(measure()?);
    args.push(Arg::F32(scale));
    let grid = [tiles, heads, shares];
    gpu.launch(Launch::new(format!("scores_totals_{name}"), grid, THREADS, args).with_shared(SLICES))?;

    let mut args = read();
    args.extend([Arg::In(&totals), Arg::Out(&sums)]);
    args.extend(measure()?);
    args.extend([Arg::U32(shares as u32), Arg::F32(scale)]);
    let (grid, shared) = ([entries.div_ceil(TILE), heads, 1], SLICES + 17 * TILE * 4);
    gpu.launch(Launch::new(format!("scores_columns_{name}"), grid, THREADS, args).with_shared(shared))?;
    Ok(sums)
}

fn combine(
    gpu: &impl Gpu,
    sums: &Tensor,
    heads: &Heads,
    sizes: Sizes,
    entries: usize,
    out: &Tensor,
    bad: &Tensor,
) -> Result<()> {
    let rows = heads.rows(sizes.heads, sizes.kv_heads);
    let weights = gpu.upload(weights(heads, sizes))?;
    let args = vec![
        Arg::In(sums),
        Arg::In(&weights),
        Arg::Out(out),
        Arg::Out(bad),
        Arg::U32(entries as u32),
        Arg::U32((sizes.heads / rows) as u32),
        Arg::U32(u32::from(*heads == Heads::Max)),
    ];
    gpu.launch(Launch::new("scores_combine", [entries.div_ceil(THREADS), rows, 1], THREADS, args))
}
