//! The float block that an image's integers stand for.
//!
//! Of a post-norm block the smoothing factors are taken out of the weights again, since the image holds
//! them. Of a pre-norm block they stay: a norm's gains and biases are divided by them and the weights behind
//! it multiplied, which is the same function.

use crate::float_model::{Layer, Linear, Norm};
use tailtune::image::{Activation, Image, NO_LAYER, NormOrder, Tensor, TensorKind};
use tailtune::kernels;

/// An int8 input: a step a column, and the zero point.
struct Input {
    steps: Vec<f64>,
    zero: i32,
}

/// Returns block `layer`, or the name of a tensor that is missing.
pub fn block(image: &Image<'_>, layer: u16) -> Result<Layer, &'static str> {
    use TensorKind::*;
    let c = image.config();
    let d = usize::from(c.d_model);
    let get = |kind: TensorKind| tensor(image, kind, layer);
    let whole = |kind: TensorKind, len: usize| {
        get(kind).map(|t| Input {
            steps: vec![t.scale().into(); len],
            zero: t.zero_point(),
        })
    };
    let attention = f64::from(get(OutEpilogue)?.scale());
    let feed_forward = f64::from(get(Ff2Epilogue)?.scale());
    let input = |requantize: TensorKind, norm: TensorKind, stream: f64| {
        if c.norm == NormOrder::Pre {
            return whole(norm, d);
        }
        let t = get(requantize)?;
        let factor = stream / unit(&t);
        let steps = t.data::<i32>().iter();
        // The int8 step of a column is that of the stream by the factor of its requantize.
        let steps = steps.map(|&m| factor / f64::from(m.max(1))).collect();
        Ok(Input {
            steps,
            zero: t.zero_point(),
        })
    };
    let read = input(AttnInput, Norm1, attention)?;
    let ff_read = input(FfInput, Norm2, feed_forward)?;
    let hidden = match c.activation {
        Activation::Relu => Ff1Epilogue,
        Activation::Gelu => ActivationTable,
    };
    let hidden = whole(hidden, c.d_ff.into())?;
    let layer_of = |weight, epilogue, input: &Input| -> Result<Linear, &'static str> {
        Ok(linear(&get(weight)?, &get(epilogue)?, input))
    };
    Ok(Layer {
        q: layer_of(Query, QueryEpilogue, &read)?,
        k: layer_of(Key, KeyEpilogue, &read)?,
        v: layer_of(Value, ValueEpilogue, &read)?,
        o: layer_of(Out, OutEpilogue, &whole(TensorKind::Context, d)?)?,
        norm1: norm(&get(Norm1)?, attention),
        ff1: layer_of(Ff1, Ff1Epilogue, &ff_read)?,
        ff2: layer_of(Ff2, Ff2Epilogue, &hidden)?,
        norm2: norm(&get(Norm2)?, feed_forward),
    })
}

/// Returns the norm before pooling, or the name of a tensor that is missing.
pub fn final_norm(image: &Image<'_>) -> Result<Norm, &'static str> {
    let last = image.config().n_layers.saturating_sub(1);
    let stream = tensor(image, TensorKind::Ff2Epilogue, last)?.scale();
    let own = tensor(image, TensorKind::FinalNorm, NO_LAYER)?;
    Ok(norm(&own, stream.into()))
}

fn tensor<'a>(image: &Image<'a>, kind: TensorKind, layer: u16) -> Result<Tensor<'a>, &'static str> {
    image.tensor(kind, layer).ok_or(kind.name())
}

/// The factor that a mantissa of one stands for.
fn unit(tensor: &Tensor<'_>) -> f64 {
    let scaling = tensor.scaling();
    libm::exp2(f64::from(scaling.pre_shift) - f64::from(scaling.shift))
}

fn linear(weight: &Tensor<'_>, epilogue: &Tensor<'_>, input: &Input) -> Linear {
    let pairs = epilogue.data::<[i32; 2]>();
    let k = input.steps.len();
    let int8 = kernels::Linear {
        weight: weight.data(),
        epilogue: pairs,
        in_features: k,
        scaling: epilogue.scaling(),
        zero_point: epilogue.zero_point(),
    };
    let unit = unit(epilogue) * f64::from(epilogue.scale());
    let mut values = Vec::with_capacity(k * pairs.len());
    let mut biases = Vec::with_capacity(pairs.len());
    for (channel, &[bias, mantissa]) in pairs.iter().enumerate() {
        // What one of the accumulator stands for.
        let step = f64::from(mantissa) * unit;
        let mut sum = 0i64;
        for (column, own) in input.steps.iter().enumerate() {
            let q = int8.weight(channel, column);
            sum += i64::from(q);
            values.push((f64::from(q) * step / own) as f32);
        }
        let bias = i64::from(bias) + sum * i64::from(input.zero);
        biases.push((bias as f64 * step) as f32);
    }
    Linear {
        out_features: pairs.len(),
        in_features: k,
        weight: values,
        bias: biases,
    }
}

/// A norm that reads a stream of this scale.
fn norm(tensor: &Tensor<'_>, stream: f64) -> Norm {
    let pairs = tensor.data::<[i32; 2]>();
    let (scale, zero) = (f64::from(tensor.scale()), f64::from(tensor.zero_point()));
    let shift = i32::from(tensor.entry().shift);
    let (unit, half) = (libm::ldexp(1.0, shift), libm::ldexp(1.0, shift - 1));
    let (epsilon, params) = match pairs.split_last() {
        Some((&[low, high], params)) => (
            (u64::from(high.cast_unsigned()) << 32) | u64::from(low.cast_unsigned()),
            params,
        ),
        None => (0, pairs),
    };
    let d = params.len().max(1) as f64;
    Norm {
        gain: params
            .iter()
            .map(|p| (f64::from(p[0]) / 1024.0 / unit * scale) as f32)
            .collect(),
        bias: params
            .iter()
            .map(|p| (((f64::from(p[1]) - half) / unit - zero) * scale) as f32)
            .collect(),
        eps: (epsilon as f64 * (stream / d).powi(2)) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::int8::Int8Model;
    use crate::reference::forward;
    use crate::synthetic::{self, Random};
    use tailtune::image::{InputKind, ModelConfig, Pooling};

    #[test]
    fn the_float_block_does_what_the_block_did_that_was_quantized() {
        for (order, activation, final_norm) in [
            (NormOrder::Post, Activation::Gelu, false),
            (NormOrder::Pre, Activation::Gelu, true),
            (NormOrder::Pre, Activation::Relu, true),
        ] {
            let config = ModelConfig {
                n_layers: 2,
                d_model: 32,
                n_heads: 2,
                d_ff: 48,
                seq_len: 9,
                n_classes: 4,
                input: InputKind::Frames {
                    n_frames: 8,
                    n_features: 5,
                },
                class_token: true,
                norm: order,
                activation,
                pooling: Pooling::ClassToken,
                embed_norm: false,
                final_norm,
                embedding_rank: 0,
                pooler: false,
                decoder: None,
            };
            let float = synthetic::model(&config, 3);
            let quantized = synthetic::quantized(&float, 60, 3).unwrap();
            let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
            let image = int8.image();
            let mut back = float.clone();
            back.layers[1] = block(&image, 1).unwrap();
            if final_norm {
                back.final_norm = Some(super::final_norm(&image).unwrap());
            }
            let r = &mut Random::new(9);
            let (mut signal, mut noise) = (0.0f64, 0.0f64);
            for _ in 0..20 {
                let input = synthetic::input(&config, 8, r);
                let run = |m| forward(m, input.float(), &mut ()).logits;
                for (a, b) in run(&float).iter().zip(run(&back)) {
                    signal += f64::from(*a).powi(2);
                    noise += f64::from(a - b).powi(2);
                }
            }
            let db = 10.0 * libm::log10(signal / noise);
            assert!(db > 30.0, "{order:?} {activation:?}: {db:.1} dB");
        }
    }
}
