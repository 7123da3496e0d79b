//! How far int8 is from float, block by block: signal to quantization noise, measured on the very
//! runtime.

use crate::float_model::FloatModel;
use crate::int8::{AsInput, Int8Error, Int8Model};
use crate::reference::{ModelInput, Probe, Site, forward};
use serde::Serialize;
use tailtune::image::{NO_LAYER, NormOrder, Pooling, TensorKind};
use tailtune::model::{Encoder, Head, arena_bytes};
use zerocopy::IntoBytes;

/// The noise after one part of the model.
#[derive(Debug, Clone, Serialize)]
pub struct Noise {
    /// `embedding`, `block 0` …, `pooled`, `logits`.
    pub part: String,
    /// Signal to noise ratio, dB.
    pub sqnr_db: f64,
    /// Largest absolute difference.
    pub max_error: f64,
}

#[derive(Default, Clone)]
struct Sums {
    signal: f64,
    noise: f64,
    max: f64,
}

impl Sums {
    fn add(&mut self, exact: &[f32], found: impl Iterator<Item = f32>) {
        for (&exact, found) in exact.iter().zip(found) {
            let error = f64::from(exact) - f64::from(found);
            self.signal += f64::from(exact).powi(2);
            self.noise += error.powi(2);
            self.max = self.max.max(error.abs());
        }
    }

    fn report(&self, part: String) -> Noise {
        let ratio = self.signal / self.noise.max(1e-30);
        Noise {
            part,
            sqnr_db: 10.0 * libm::log10(ratio.max(1e-30)),
            max_error: self.max,
        }
    }
}

/// Keeps the residual stream after the embedding and after every block.
#[derive(Default)]
struct Stream(Vec<Vec<f32>>);

impl Probe for Stream {
    fn record(&mut self, site: Site, values: &[f32], _: usize) {
        if matches!(site, Site::Embedded | Site::BlockOut(_)) {
            self.0.push(values.to_vec());
        }
    }
}

/// Compares the int8 model with the float one on these inputs.
///
/// # Errors
/// [`Int8Error`].
pub fn measure(
    model: &FloatModel,
    int8: &Int8Model,
    inputs: &[ModelInput],
) -> Result<Vec<Noise>, Int8Error> {
    let image = int8.image();
    let config = *image.config();
    let n = usize::from(config.n_layers);
    let mut arena = vec![0u64; arena_bytes(&config).div_ceil(8)];
    let arena = &mut arena.as_mut_bytes()[..arena_bytes(&config)];
    let mut encoder = Encoder::new(&image, arena).map_err(Int8Error::Encoder)?;
    let scales = residual_scales(int8);
    // The last block computes only the rows that are pooled.
    let pooled_rows = if config.pooling == Pooling::Mean {
        usize::MAX
    } else {
        1
    };
    let mut stream = vec![Sums::default(); n + 1];
    let (mut pooled, mut logits) = (Sums::default(), Sums::default());
    for (index, (float, q)) in inputs.iter().zip(int8.prepare(inputs)?).enumerate() {
        let mut exact = Stream::default();
        let output = forward(model, float.float(), &mut exact);
        let input = |source| Int8Error::Input { index, source };
        let mut run = encoder.begin(q.as_input()).map_err(input)?;
        let mut done = None;
        // When a block is done, the residual stream holds its output until the next step.
        while run.step() {
            if let Some(block) = run.blocks_done().filter(|b| done != Some(*b)) {
                done = Some(block);
                let rows = if block == n { pooled_rows } else { usize::MAX };
                let len = exact.0[block]
                    .len()
                    .min(rows.saturating_mul(config.d_model.into()));
                let found = run.residual().iter().map(|&x| f32::from(x) * scales[block]);
                stream[block].add(&exact.0[block][..len], found);
            }
        }
        let features = run.finish();
        let real = |&v: &i8| (f32::from(v) - f32::from(features.zero_point)) * features.scale;
        pooled.add(&output.pooled, features.values.iter().map(real));
        if let Ok(head) = Head::new(&image) {
            let mut found = vec![0i16; head.n_classes()];
            head.logits(&features, &mut found);
            logits.add(
                &output.logits,
                found.iter().map(|&l| f32::from(l) * head.logit_scale()),
            );
        }
    }
    let name = |i: usize| {
        if i == 0 {
            "embedding".to_owned()
        } else {
            format!("block {}", i - 1)
        }
    };
    let mut report: Vec<Noise> = stream
        .iter()
        .enumerate()
        .map(|(i, s)| s.report(name(i)))
        .collect();
    report.push(pooled.report("pooled".into()));
    if config.n_classes > 0 {
        report.push(logits.report("logits".into()));
    }
    Ok(report)
}

/// Real value of one step of the residual stream after the embedding and after each block.
fn residual_scales(int8: &Int8Model) -> Vec<f32> {
    let image = int8.image();
    let config = image.config();
    let scale = |kind, layer| image.tensor(kind, layer).map_or(0.0, |t| t.scale());
    let embedded = match (
        config.embed_norm,
        scale(TensorKind::FrameEpilogue, NO_LAYER),
    ) {
        (true, _) => scale(TensorKind::EmbedNorm, NO_LAYER),
        (false, 0.0) => scale(TensorKind::TokenScale, NO_LAYER),
        (false, frames) => frames,
    };
    let after = |layer| match config.norm {
        NormOrder::Post => scale(TensorKind::Norm2, layer),
        NormOrder::Pre => scale(TensorKind::Ff2Epilogue, layer),
    };
    std::iter::once(embedded)
        .chain((0..config.n_layers).map(after))
        .collect()
}
