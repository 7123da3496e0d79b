//! Writes flash images: the same structs and the same tensor order that the device parses.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use tailtune::image::{
    ConfigRecord, DecoderRecord, EXTENSION_MINOR, FORMAT_MAJOR, HEADER_LEN, Header,
    HeaderExtension, Image, ImageError, Layout, MAGIC, ModelConfig, TENSOR_ALIGNMENT, TensorEntry,
    TensorKind, TensorSpec, checksum,
};
use tailtune::quant::Scaling;
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromZeros, IntoBytes};

/// One tensor as it will lie in the image.
#[derive(Debug, Clone, Default)]
pub struct TensorData {
    /// Its elements, little endian.
    pub bytes: Vec<u8>,
    /// Shift of a requantize, a LayerNorm or the context.
    pub shift: u8,
    /// Pre-shift of a requantize.
    pub pre_shift: u8,
    /// Zero point of the operator's output.
    pub zero_point: i8,
    /// Scale of the operator's output.
    pub scale: f32,
}

impl TensorData {
    /// Returns a tensor of elements that need no numbers beside them.
    pub fn new<T: IntoBytes + zerocopy::Immutable>(elements: &[T]) -> Self {
        Self {
            bytes: elements.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    /// Adds an output's scale and zero point.
    pub fn output(mut self, scale: f64, zero_point: i32) -> Self {
        self.scale = scale as f32;
        self.zero_point = zero_point as i8;
        self
    }

    /// Adds the shifts of a requantize.
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        (self.pre_shift, self.shift) = (scaling.pre_shift, scaling.shift);
        self
    }

    /// Adds a shift alone.
    pub fn shift(mut self, shift: u8) -> Self {
        self.shift = shift;
        self
    }
}

/// Why an image could not be written: what was collected does not make a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A tensor that the configuration asks for was not given.
    #[error("tensor {} of block {layer} is missing", kind.name())]
    Missing {
        /// The tensor.
        kind: TensorKind,
        /// Its block.
        layer: u16,
    },
    /// A tensor has the wrong number of bytes.
    #[error("tensor {} of block {layer} has {found} bytes, its shape needs {expected}", kind.name())]
    Length {
        /// The tensor.
        kind: TensorKind,
        /// Its block.
        layer: u16,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: u64,
    },
    /// The number of labels is not the number of classes.
    #[error("{found} labels for {expected} classes")]
    Labels {
        /// Labels given.
        found: usize,
        /// Classes of the configuration.
        expected: u16,
    },
    /// A label is longer than its length byte can say.
    #[error("label {0:?} is longer than 255 bytes")]
    LabelTooLong(String),
    /// The image is larger than a 32-bit offset.
    #[error("the image has {0} bytes, more than its format can address")]
    TooLarge(usize),
    /// The device would refuse what was written.
    #[error("the image does not parse: {0}")]
    Refused(ImageError),
}

/// Collects a model's tensors and writes its image.
#[derive(Debug, Clone)]
pub struct ImageWriter {
    config: ModelConfig,
    tensors: HashMap<(u8, u16), TensorData>,
    labels: Vec<String>,
    provenance: String,
    front_end: Vec<u8>,
    tokenizer: Vec<u8>,
    target_tokenizer: Vec<u8>,
}

impl ImageWriter {
    /// Starts an image.
    pub fn new(config: &ModelConfig, labels: &[String]) -> Self {
        Self {
            config: *config,
            tensors: HashMap::new(),
            labels: labels.to_vec(),
            provenance: String::new(),
            front_end: Vec::new(),
            tokenizer: Vec::new(),
            target_tokenizer: Vec::new(),
        }
    }

    /// Gives the section that makes frames out of sound: see [`tailtune::image::front_end`].
    pub fn front_end(&mut self, section: &[u8]) {
        self.front_end = section.to_vec();
    }

    /// Gives the section of the input's tokenizer, of a model that reads text.
    pub fn tokenizer(&mut self, section: &[u8]) {
        self.tokenizer = section.to_vec();
    }

    /// Gives the section of the output's tokenizer, of a model that writes text.
    pub fn target_tokenizer(&mut self, section: &[u8]) {
        self.target_tokenizer = section.to_vec();
    }

    /// Adds a `key=value` line to the provenance.
    pub fn provenance(&mut self, key: &str, value: &str) {
        self.provenance.push_str(&provenance_line(key, value));
    }

    /// Gives a tensor ([`tailtune::image::NO_LAYER`] for one of no block).
    pub fn put(&mut self, kind: TensorKind, layer: u16, data: TensorData) {
        self.tensors.insert((kind as u8, layer), data);
    }

    fn get(&self, spec: &TensorSpec) -> Result<&TensorData, WriteError> {
        let (kind, layer) = (spec.kind, spec.layer);
        let data = self
            .tensors
            .get(&(kind as u8, layer))
            .ok_or(WriteError::Missing { kind, layer })?;
        let (found, expected) = (data.bytes.len(), spec.len_bytes());
        if found as u64 != expected {
            return Err(WriteError::Length {
                kind,
                layer,
                found,
                expected,
            });
        }
        Ok(data)
    }

    /// Returns the image's bytes, parsed once to prove that a device takes them.
    ///
    /// # Errors
    /// [`WriteError`] names what is missing or does not fit.
    pub fn finish(&self) -> Result<AlignedBytes, WriteError> {
        let expected = self.config.n_classes;
        if self.labels.len() != usize::from(expected) {
            return Err(WriteError::Labels {
                found: self.labels.len(),
                expected,
            });
        }
        let layout = Layout::new(&self.config);
        let mut hash = Sha256::new();
        hash.update(b"tailtune model 1, cut at the pooled feature");
        hash.update(ConfigRecord::from(&self.config).as_bytes());
        let decoder = self.config.decoder.as_ref().map(DecoderRecord::from);
        let extended =
            decoder.is_some() || !self.tokenizer.is_empty() || !self.target_tokenizer.is_empty();
        if let Some(decoder) = &decoder {
            hash.update(decoder.as_bytes());
        }

        let directory_offset = header_len(extended);
        let mut out = vec![0; directory_offset + layout.len() * size_of::<TensorEntry>()];
        let mut entries = Vec::new();
        for spec in layout.iter() {
            let data = self.get(&spec)?;
            out.resize(out.len().next_multiple_of(TENSOR_ALIGNMENT as usize), 0);
            let entry = entry(&spec, data, out.len());
            if !matches!(spec.kind, TensorKind::Head | TensorKind::HeadEpilogue) {
                hash.update([
                    entry.kind,
                    entry.shift,
                    entry.pre_shift,
                    entry.zero_point as u8,
                ]);
                hash.update(entry.scale.as_bytes());
                hash.update(&data.bytes);
            }
            entries.push(entry);
            match spec.kind.packing() {
                0 => out.extend_from_slice(&data.bytes),
                _ => out.extend(interleaved(&data.bytes, spec.cols as usize)),
            }
        }
        let labels_offset = out.len();
        for label in &self.labels {
            let len =
                u8::try_from(label.len()).map_err(|_| WriteError::LabelTooLong(label.clone()))?;
            out.push(len);
            out.extend_from_slice(label.as_bytes());
        }
        hash.update(&out[labels_offset..]);
        hash.update(&self.front_end);
        hash.update(&self.tokenizer);
        hash.update(&self.target_tokenizer);
        let provenance_offset = out.len();
        out.extend_from_slice(self.provenance.as_bytes());
        out.resize(out.len().next_multiple_of(TENSOR_ALIGNMENT as usize), 0);
        let sections = [&self.front_end, &self.tokenizer, &self.target_tokenizer].map(|section| {
            let offset = out.len();
            out.extend_from_slice(section);
            out.resize(out.len().next_multiple_of(TENSOR_ALIGNMENT as usize), 0);
            match section.is_empty() {
                true => (0, 0),
                false => (offset, section.len()),
            }
        });
        if u32::try_from(out.len()).is_err() {
            return Err(WriteError::TooLarge(out.len()));
        }

        let word = |value: usize| U32::new(value as u32);
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.major = U16::new(FORMAT_MAJOR);
        // What an older reader reads is written as it knows it.
        header.minor = U16::new(EXTENSION_MINOR - u16::from(!extended));
        header.total_len = word(out.len());
        header.model_id.copy_from_slice(&hash.finalize()[..16]);
        header.config = ConfigRecord::from(&self.config);
        header.directory_offset = word(directory_offset);
        header.tensor_count = word(layout.len());
        header.labels_offset = word(labels_offset);
        header.labels_len = word(provenance_offset - labels_offset);
        header.provenance_offset = word(provenance_offset);
        header.provenance_len = word(self.provenance.len());
        let [front_end, tokenizer, target] = sections.map(|(at, len)| (word(at), word(len)));
        (header.front_end_offset, header.front_end_len) = front_end;
        out[..HEADER_LEN].copy_from_slice(header.as_bytes());
        if extended {
            let mut extension = HeaderExtension::new_zeroed();
            if let Some(decoder) = decoder {
                extension.decoder = decoder;
            }
            (extension.tokenizer_offset, extension.tokenizer_len) = tokenizer;
            (extension.target_offset, extension.target_len) = target;
            out[HEADER_LEN..directory_offset].copy_from_slice(extension.as_bytes());
        }
        let directory = entries.as_bytes();
        out[directory_offset..directory_offset + directory.len()].copy_from_slice(directory);
        header.crc = U32::new(checksum(&out));
        out[..HEADER_LEN].copy_from_slice(header.as_bytes());

        let image = AlignedBytes::new(&out);
        Image::parse(&image).map_err(WriteError::Refused)?;
        Ok(image)
    }
}

/// Bytes of an image's header, with its second part or without.
const fn header_len(extended: bool) -> usize {
    if extended {
        HEADER_LEN + size_of::<HeaderExtension>()
    } else {
        HEADER_LEN
    }
}

/// Returns rows of `cols` bytes in pairs, interleaved: packing 1 of the format.
fn interleaved(rows: &[u8], cols: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len());
    for pair in rows.chunks(2 * cols.max(1)) {
        match pair.split_at_checked(cols) {
            Some((a, b)) if a.len() == b.len() => {
                out.extend(a.iter().zip(b).flat_map(|(&a, &b)| [a, b]));
            }
            _ => out.extend_from_slice(pair),
        }
    }
    out
}

/// Returns a line of the provenance.
pub fn provenance_line(key: &str, value: &str) -> String {
    format!("{key}={}\n", value.replace('\n', " "))
}

/// Returns the bytes of an image before it is made; `sections` are those of front end, tokenizer and
/// target tokenizer.
pub fn image_len(
    config: &ModelConfig,
    labels: &[String],
    provenance: &str,
    sections: [usize; 3],
) -> usize {
    let align = |n: usize| n.next_multiple_of(TENSOR_ALIGNMENT as usize);
    let layout = Layout::new(config);
    let [_, tokenizer, target] = sections;
    let extended = config.decoder.is_some() || tokenizer + target > 0;
    let mut len = header_len(extended) + layout.len() * size_of::<TensorEntry>();
    for spec in layout.iter() {
        len = align(len) + spec.len_bytes() as usize;
    }
    len += labels.iter().map(|label| 1 + label.len()).sum::<usize>();
    sections
        .iter()
        .fold(align(len + provenance.len()), |len, section| {
            align(len + section)
        })
}

fn entry(spec: &TensorSpec, data: &TensorData, offset: usize) -> TensorEntry {
    TensorEntry {
        kind: spec.kind as u8,
        dtype: spec.kind.data_type() as u8,
        packing: spec.kind.packing(),
        shift: data.shift,
        layer: U16::new(spec.layer),
        pre_shift: data.pre_shift,
        zero_point: data.zero_point,
        rows: U32::new(spec.rows),
        cols: U32::new(spec.cols),
        offset: U32::new(offset as u32),
        len: U32::new(data.bytes.len() as u32),
        scale: F32::new(data.scale),
        reserved: U32::ZERO,
    }
}

/// Bytes at an address that is a multiple of 16, as a flash image lies on a board.
#[derive(Debug, Clone)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// Copies `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(16)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self {
            words,
            len: bytes.len(),
        }
    }
}

impl std::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

impl std::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}
