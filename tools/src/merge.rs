//! An adapted tail and its image → a new image, or the tail's layers in float.
//!
//! Into an image: the head is quantized as `convert` quantizes one, int8 by channel with logits of one
//! scale; tensors of the block go where the image's were, as they are; added classes become the model's own.

use crate::export::Tensor;
use crate::image_writer::{AlignedBytes, ImageWriter, TensorData, WriteError};
use crate::import::names;
use crate::quantize::{dequantize, head};
use serde_json::{Value, json};
use tailtune::image::{Image, ImageError, NO_LAYER, NormOrder, TensorKind, TensorSpec};
use tailtune::model::Cut;
use tailtune::store::export::Exported;
use tailtune::tune::{HeadOrigin, Tail, TailError};

/// Why a tail does not become part of its image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The tail is none.
    #[error("the tail: {0}; read it from its device again")]
    Tail(TailError),
    /// The tail is of another model.
    #[error(
        "the tail belongs to the model {found}, the image is of model {expected}: give the image that was on the device"
    )]
    OtherModel {
        /// Of the tail.
        found: String,
        /// Of the image.
        expected: String,
    },
    /// The tail is of a decoder.
    #[error(
        "the tail is of a decoder's output projection: merging is for tails of an encoder's classes; the decoder reads such a tail beside its image"
    )]
    Decoder,
    /// The tail is of another width.
    #[error(
        "the tail's head reads {found} numbers, the image's features have {expected}: give the image that was on the device"
    )]
    Width {
        /// Of the tail.
        found: usize,
        /// Of the image.
        expected: usize,
    },
    /// The tail has other classes of the image than the image.
    #[error(
        "the tail keeps {found} of the image's classes, the image has {expected}: a tail that keeps all or none can be merged"
    )]
    Classes {
        /// Of the tail.
        found: usize,
        /// Of the image.
        expected: usize,
    },
    /// There is no class.
    #[error("the tail has no class: there is no head to merge; tune at least one class")]
    NoClass,
    /// The tail's block does not suit the image.
    #[error("the block of the tail: {0}; give the image that was on the device")]
    Block(ImageError),
    /// The head does not fit int8.
    #[error(
        "head: its weights span too wide a range for int8; tune with more weight decay, or write it with --format safetensors"
    )]
    Head,
    /// The image cannot be written.
    #[error("the merged image: {0}")]
    Write(#[from] WriteError),
    /// A tensor is not there, which a sound image's always is.
    #[error("the image has no {0}: convert the model again")]
    Missing(&'static str),
}

/// A tail that was checked against its image.
#[derive(Debug)]
pub struct Merge<'m> {
    image: Image<'m>,
    patched: Image<'m>,
    tail: Tail<'m>,
    labels: Vec<String>,
    line: String,
}

impl<'m> Merge<'m> {
    /// Checks that a tail and an image belong together. `payload` is the export's, at a multiple of 16.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn new(
        image: Image<'m>,
        exported: &Exported<'_>,
        payload: &'m [u8],
    ) -> Result<Self, MergeError> {
        let record = &exported.record;
        let expected = image.model_id().0;
        if record.model_id != expected {
            return Err(MergeError::OtherModel {
                found: crate::flash::slots::hex(&record.model_id),
                expected: crate::flash::slots::hex(&expected),
            });
        }
        let tail = Tail::parse(payload).map_err(MergeError::Tail)?;
        if tail.cut() == Cut::Output {
            return Err(MergeError::Decoder);
        }
        let (found, expected) = (tail.d_model(), usize::from(image.config().d_model));
        if found != expected {
            return Err(MergeError::Width { found, expected });
        }
        let (found, expected) = (tail.model_classes(), image.labels().len());
        if found != 0 && found != expected {
            return Err(MergeError::Classes { found, expected });
        }
        if tail.classes() == 0 {
            return Err(MergeError::NoClass);
        }
        let patched = image.patched(tail.block()).map_err(MergeError::Block)?;
        let own = image.labels().iter().take(found);
        let labels = own.chain(tail.added_names()).map(str::to_owned).collect();
        let line = format!(
            "tail {} of model {} by {}, CRC-32 {:08x}",
            record.sequence,
            crate::flash::slots::hex(&record.model_id),
            tail.method().name(),
            record.payload_crc
        );
        Ok(Self {
            image,
            patched,
            tail,
            labels,
            line,
        })
    }

    /// Returns the names of all classes, in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns the method that made the tail.
    pub const fn method(&self) -> &'static str {
        self.tail.method().name()
    }

    /// Returns the tail's head: weights `[classes][d_model]`, biases `[classes]`.
    fn head(&self) -> (Vec<f32>, Vec<f32>) {
        let (classes, d) = (self.tail.classes(), self.tail.d_model());
        let weight = |i: usize| self.tail.weight(i / d, i % d);
        let weights = (0..classes * d).map(weight).collect();
        (weights, (0..classes).map(|c| self.tail.bias(c)).collect())
    }

    /// Returns the new image.
    ///
    /// # Errors
    /// [`MergeError::Head`] or [`MergeError::Write`].
    pub fn image(&self) -> Result<AlignedBytes, MergeError> {
        let mut config = *self.image.config();
        let many = MergeError::Write(WriteError::TooLarge(self.labels.len()));
        config.n_classes = u16::try_from(self.labels.len()).map_err(|_| many)?;
        let mut writer = ImageWriter::new(&config, &self.labels);
        for (spec, _) in self.image.tensors() {
            if !matches!(spec.kind, TensorKind::Head | TensorKind::HeadEpilogue) {
                writer.put(spec.kind, spec.layer, self.tensor(&spec)?);
            }
        }
        let feature = self.image.feature();
        let feature = feature.ok_or(MergeError::Missing("pooled feature"))?;
        let (weights, biases) = self.head();
        let (scale, zero) = (feature.scale().into(), feature.zero_point());
        let (head, epilogue) = head(&weights, &biases, scale, zero).ok_or(MergeError::Head)?;
        writer.put(TensorKind::Head, NO_LAYER, head);
        writer.put(TensorKind::HeadEpilogue, NO_LAYER, epilogue);
        for line in self.image.provenance().lines() {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            writer.provenance(key, value);
        }
        writer.provenance("merged", &self.line);
        if let Some(front_end) = self.image.front_end() {
            writer.front_end(front_end.bytes());
        }
        writer.tokenizer(self.image.tokenizer());
        writer.target_tokenizer(self.image.target_tokenizer());
        Ok(writer.finish()?)
    }

    /// Returns a tensor as the writer takes it: the tail's where it has it, rows in order.
    fn tensor(&self, spec: &TensorSpec) -> Result<TensorData, MergeError> {
        let tensor = self.patched.tensor(spec.kind, spec.layer);
        let tensor = tensor.ok_or(MergeError::Missing(spec.kind.name()))?;
        let entry = tensor.entry();
        let bytes = match entry.packing {
            0 => tensor.bytes().to_vec(),
            _ => rows_of(tensor.bytes(), spec.cols as usize),
        };
        Ok(TensorData {
            bytes,
            shift: entry.shift,
            pre_shift: entry.pre_shift,
            zero_point: entry.zero_point,
            scale: entry.scale.get(),
        })
    }

    /// Returns what the tail changes, in float: config.json and tensors under the names of
    /// [`names`]. The last block is the float block that its integers stand for, where the tail has one.
    ///
    /// # Errors
    /// [`MergeError::Missing`].
    pub fn float(&self) -> Result<(Value, Vec<Tensor>), MergeError> {
        let c = self.image.config();
        let (weights, biases) = self.head();
        let (classes, d) = (self.labels.len(), self.tail.d_model());
        let mut tensors = vec![
            Tensor::new(names::weight(names::HEAD), &[classes, d], &weights),
            Tensor::new(names::bias(names::HEAD), &[classes], &biases),
        ];
        let layer = c.n_layers.checked_sub(1);
        let layer = layer.filter(|_| !self.tail.block().is_empty());
        if let Some(index) = layer {
            let block = dequantize::block(&self.patched, index).map_err(MergeError::Missing)?;
            let at = usize::from(index);
            let linears = [
                ("attention.q", &block.q),
                ("attention.k", &block.k),
                ("attention.v", &block.v),
                ("attention.o", &block.o),
                ("ff1", &block.ff1),
                ("ff2", &block.ff2),
            ];
            for (part, linear) in linears {
                let name = names::layer(at, part);
                let shape = [linear.out_features, linear.in_features];
                tensors.push(Tensor::new(names::weight(&name), &shape, &linear.weight));
                tensors.push(Tensor::new(names::bias(&name), &shape[..1], &linear.bias));
            }
            let mut norms = vec![
                (names::layer(at, "norm1"), block.norm1),
                (names::layer(at, "norm2"), block.norm2),
            ];
            if c.final_norm {
                let norm = dequantize::final_norm(&self.patched).map_err(MergeError::Missing)?;
                norms.push((names::FINAL_NORM.to_owned(), norm));
            }
            for (name, norm) in norms {
                tensors.push(Tensor::new(names::weight(&name), &[d], &norm.gain));
                tensors.push(Tensor::new(names::bias(&name), &[d], &norm.bias));
            }
        }
        let config = json!({
            "model_type": "tailtune_tail",
            "model_id": crate::flash::slots::hex(&self.image.model_id().0),
            "method": self.method(),
            "d_model": d,
            "n_heads": c.n_heads,
            "d_ff": c.d_ff,
            "norm": match c.norm { NormOrder::Pre => "pre", NormOrder::Post => "post" },
            "final_norm": c.final_norm,
            "layer": layer,
            "labels": self.labels,
            "provenance": format!("{}merged={}\n", self.image.provenance(), self.line),
        });
        Ok((config, tensors))
    }
}

/// Returns rows in order of a tensor whose rows lie in pairs, interleaved.
fn rows_of(packed: &[u8], cols: usize) -> Vec<u8> {
    let cols = cols.max(1);
    let mut out = Vec::with_capacity(packed.len());
    for pair in packed.chunks(2 * cols) {
        if pair.len() == 2 * cols {
            out.extend(pair.iter().step_by(2));
            out.extend(pair.iter().skip(1).step_by(2));
        } else {
            out.extend_from_slice(pair);
        }
    }
    out
}
