//! The decoder's forward on the autodiff framework, over whole targets at once.

use super::{Graph, Input, hidden_keys};
use burn::tensor::{Int, Tensor, TensorData};
use tailtune::image::DecoderConfig;
use tailtune_tools::import::names;

/// A batch of targets, padded to equal length: row i is the start token and all but the last token of
/// what is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `[batch, len]`.
    pub ids: Vec<i32>,
    /// The places in `[batch · len]` whose logits are wanted: those that are not padding.
    pub places: Vec<i32>,
}

impl Graph<'_> {
    /// Returns the logits `[places, vocab_size]` that the decoder gives after the target's tokens;
    /// `input` is none for a model without an encoder.
    ///
    /// # Panics
    /// Where the model has no decoder.
    pub fn decode(&self, input: Option<&Input>, target: &Target, batch: usize) -> Tensor<2> {
        let config = self.config.decoder.as_ref().expect("there is a decoder");
        let memory = input.map(|input| {
            let memory = self.forward(input, batch).hidden;
            let mask = self.mask(input, batch, memory.dims()[1]);
            (memory, mask.as_ref().map(hidden_keys))
        });
        let mut x = self.embed_target(config, &target.ids, batch);
        let [_, len, d] = x.dims();
        let later = self.later_keys(len);
        for layer in 0..config.n_layers.into() {
            let name = |part: &str| names::decoder_layer(layer, part);
            x = self.sub_layer(&name("norm1"), x, |x| {
                self.attention(&name("attention"), x.clone(), x, Some(&later))
            });
            if let Some((memory, hidden)) = &memory {
                x = self.sub_layer(&name("cross_norm"), x, |x| {
                    self.attention(&name("cross"), x, memory.clone(), hidden.as_ref())
                });
            }
            x = self.sub_layer(&name("norm2"), x, |x| self.feed_forward(name, x));
        }
        let n = target.places.len();
        let places = TensorData::new(target.places.clone(), [n]);
        let places = Tensor::<1, Int>::from_data(places, &self.device);
        let mut rows = x.reshape([batch * len, d]).select(0, places);
        if config.final_norm {
            rows = self.norm(names::DECODER_NORM, rows);
        }
        self.output(config, rows)
    }

    fn embed_target(&self, config: &DecoderConfig, ids: &[i32], batch: usize) -> Tensor<3> {
        let x = self.rows(names::TARGET_TOKENS, ids, batch);
        let [_, len, d] = x.dims();
        let positions = self
            .matrix(names::TARGET_POSITIONS)
            .slice([0..len, 0..d])
            .reshape([1, len, d]);
        let x = x + positions;
        match config.embed_norm {
            true => self.norm(names::TARGET_NORM, x),
            false => x,
        }
    }

    /// Hides from each place the keys after it: `[1, 1, len, len]`.
    fn later_keys(&self, len: usize) -> Tensor<4> {
        let row = |i: usize| (0..len).map(move |j| if j > i { -1e9 } else { 0.0 });
        let hidden: Vec<f32> = (0..len).flat_map(row).collect();
        Tensor::from_data(TensorData::new(hidden, [1, 1, len, len]), &self.device)
    }

    fn output(&self, config: &DecoderConfig, rows: Tensor<2>) -> Tensor<2> {
        let weight = match config.tied {
            true => self.matrix(names::TARGET_TOKENS),
            false => self.matrix(&names::weight(names::OUTPUT)),
        };
        let weight = self.quantized_rows(weight);
        let bias = self.vector(&names::bias(names::OUTPUT)).unsqueeze::<2>();
        self.quantized(rows).matmul(weight.transpose()) + bias
    }
}
