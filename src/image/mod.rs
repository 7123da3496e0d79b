//! The flash image: bytes → a checked view that borrows them.
//!
//! An image is one contiguous piece of flash, read in place. [`Image::parse`] is the only way in;
//! it is total (a typed error for every malformed input, no panic whatever the bytes), allocates
//! nothing and copies nothing but the header. What it hands out afterwards has the right length,
//! type and alignment.
//!
//! ```text
//! header (96 or 160 bytes) see `header`
//! tensor directory         32 bytes a tensor, see `tensor`
//! tensors                  each at a multiple of 16 bytes, in the directory's order
//! labels, provenance       see `header`
//! front end                of models of sound, see `front_end`
//! tokenizers               of models of text: the input's, the output's
//! ```
//!
//! All numbers are little endian. The buffer may be longer than the image (a flash region usually
//! is); it must start at a multiple of [`ALIGNMENT`].

mod config;
mod decoder;
mod error;
pub mod front_end;
pub mod header;
mod patch;
pub mod tensor;

pub use config::{
    Activation, ConfigRecord, InputKind, MAX_CLASSES, MAX_D_FF, MAX_D_MODEL, MAX_FEATURES,
    MAX_HEADS, MAX_LAYERS, MAX_SEQ_LEN, MAX_VOCAB, ModelConfig, NormOrder, Pooling,
};
pub use decoder::{DecoderConfig, DecoderRecord};
pub use error::{ImageError, TensorFault};
pub use front_end::{FrontEndKind, FrontEndTables};
pub use header::{
    CRC_OFFSET, EXTENSION_MINOR, FORMAT_MAJOR, FORMAT_MINOR, HEADER_LEN, Header, HeaderExtension,
    MAGIC, TENSOR_ALIGNMENT, checksum,
};
pub(crate) use patch::planned_patch_bytes;
pub use patch::{copy_patch, patch_bytes, patch_range, patch_tensor_mut};
pub use tensor::{
    AttentionKinds, CROSS_ATTENTION, DataType, Layout, NO_LAYER, QuantRule, SELF_ATTENTION,
    TensorEntry, TensorKind, TensorSpec,
};

use crate::quant::Scaling;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout};

#[cfg(target_endian = "big")]
compile_error!("images are little endian and read in place: big-endian targets are not supported");

/// The buffer that holds an image starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 4;

/// A model's identity: a hash of its trunk, its cut and its labels.
///
/// An adapted tail belongs to the model with the same id; re-packing or signing an image keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelId(pub [u8; 16]);

/// A parsed image: a copy of its header and borrowed slices of the rest.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    bytes: &'a [u8],
    entries: &'a [TensorEntry],
    labels: &'a [u8],
    provenance: &'a str,
    front_end: Option<FrontEndTables<'a>>,
    tokenizer: &'a [u8],
    target_tokenizer: &'a [u8],
    layout: Layout,
    model_id: ModelId,
    patch: Option<patch::Patch<'a>>,
}

impl<'a> Image<'a> {
    /// Checks `bytes` and returns a view of the image at their start.
    ///
    /// # Errors
    /// An [`ImageError`] that says what was found and what was expected. Order of the checks:
    /// alignment, magic, version, length, checksum, configuration, sections, tensors, labels.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Err(ImageError::Misaligned);
        }
        let short = |needed| ImageError::TooShort {
            needed,
            found: bytes.len(),
        };
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| short(HEADER_LEN))?;
        if header.magic != MAGIC {
            return Err(ImageError::Magic {
                found: header.magic,
            });
        }
        if header.major.get() != FORMAT_MAJOR {
            let (found, supported) = (header.major.get(), FORMAT_MAJOR);
            return Err(ImageError::Version { found, supported });
        }
        let total = (header.total_len.get() as usize).max(HEADER_LEN);
        let bytes = bytes.get(..total).ok_or(short(total))?;
        let (found, expected) = (checksum(bytes), header.crc.get());
        if found != expected {
            return Err(ImageError::Checksum { expected, found });
        }
        Self::parse_checked(bytes, header)
    }

    /// The rest of the checks, for bytes whose length and checksum are right.
    fn parse_checked(bytes: &'a [u8], header: &Header) -> Result<Self, ImageError> {
        let extension = extension(bytes, header)?;
        let config = ModelConfig::read(&header.config, extension.map(|e| &e.decoder))?;
        let header_len = HEADER_LEN + extension.map_or(0, size_of_val);
        let layout = Layout::new(&config);
        let (count, expected) = (header.tensor_count.get(), layout.len() as u32);
        if count != expected {
            return Err(ImageError::TensorCount {
                found: count,
                expected,
            });
        }
        let directory_len = count.saturating_mul(size_of::<TensorEntry>() as u32);
        let offset = header.directory_offset.get();
        let directory = section(bytes, "directory", offset, directory_len, header_len as u32)?;
        let bad = ImageError::Section {
            section: "directory",
            offset,
            len: directory_len,
        };
        let entries = <[TensorEntry]>::ref_from_bytes(directory).map_err(|_| bad)?;

        let mut end = offset.saturating_add(directory_len);
        for (entry, spec) in entries.iter().zip(layout.iter()) {
            end = check_entry(bytes, entry, &spec, &config, end).map_err(|reason| {
                ImageError::Tensor {
                    kind: spec.kind,
                    layer: spec.layer,
                    reason,
                }
            })?;
        }
        let (offset, len) = (header.labels_offset.get(), header.labels_len.get());
        let labels = section(bytes, "labels", offset, len, end)?;
        check_labels(labels, config.n_classes)?;
        let end = offset.saturating_add(len);
        let (offset, len) = (header.provenance_offset.get(), header.provenance_len.get());
        let provenance = section(bytes, "provenance", offset, len, end)?;
        let provenance = core::str::from_utf8(provenance).map_err(|_| ImageError::Provenance)?;
        let end = offset.saturating_add(len);
        let front_end = front_end(bytes, header, &config, end)?;
        let [tokenizer, target_tokenizer] = tokenizers(bytes, header, extension, end)?;
        let model_id = ModelId(header.model_id);
        Ok(Self {
            bytes,
            entries,
            labels,
            provenance,
            front_end,
            tokenizer,
            target_tokenizer,
            layout,
            model_id,
            patch: None,
        })
    }

    /// Returns the image with some of its tensors replaced by those of a patch: what a tail that tuned
    /// more than the head [holds](crate::tune::Tail::block). Empty bytes replace nothing. `bytes` must
    /// start at a multiple of [`ALIGNMENT`].
    ///
    /// # Errors
    /// An [`ImageError`]: a tensor that the image does not have, or that is not sound.
    pub fn patched(&self, bytes: &'a [u8]) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Ok(*self);
        }
        let patch = Some(patch::Patch::parse(bytes, self)?);
        Ok(Self { patch, ..*self })
    }

    /// Returns the architecture.
    pub const fn config(&self) -> &ModelConfig {
        self.layout.config()
    }

    /// Returns the format's minor version that the image was written in.
    pub fn format_minor(&self) -> u16 {
        Header::ref_from_prefix(self.bytes).map_or(0, |(header, _)| header.minor.get())
    }

    /// Returns the model's identity.
    pub const fn model_id(&self) -> ModelId {
        self.model_id
    }

    /// Returns the class names.
    pub const fn labels(&self) -> Labels<'a> {
        Labels {
            bytes: self.labels,
            count: self.config().n_classes,
        }
    }

    /// Returns where the image came from: `key=value` lines.
    pub const fn provenance(&self) -> &'a str {
        self.provenance
    }

    /// Returns what makes the model's frames out of sound, if it is a model of sound.
    pub const fn front_end(&self) -> Option<FrontEndTables<'a>> {
        self.front_end
    }

    /// Returns the section of the input's tokenizer, unchecked (see `text`); empty where there is none.
    pub const fn tokenizer(&self) -> &'a [u8] {
        self.tokenizer
    }

    /// Returns the section of the output's tokenizer, as [`Self::tokenizer`].
    pub const fn target_tokenizer(&self) -> &'a [u8] {
        self.target_tokenizer
    }

    /// Returns the bytes of the image, without what follows it in the buffer.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns every tensor with its place in the layout, in the directory's order.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorSpec, Tensor<'a>)> + '_ {
        let bytes = self.bytes;
        self.layout
            .iter()
            .zip(self.entries)
            .map(move |(spec, entry)| (spec, Tensor::new(bytes, entry)))
    }

    /// Returns whether a patch holds a tensor in the image's place.
    pub fn is_patched(&self, kind: TensorKind, layer: u16) -> bool {
        self.patch
            .is_some_and(|patch| patch.tensor(kind, layer).is_some())
    }

    /// Returns a tensor of block `layer` ([`NO_LAYER`] for those of no block), if the model has it.
    pub fn tensor(&self, kind: TensorKind, layer: u16) -> Option<Tensor<'a>> {
        let replaced = self.patch.and_then(|patch| patch.tensor(kind, layer));
        if replaced.is_some() {
            return replaced;
        }
        let entry = self.entries.get(self.layout.index(kind, layer)?)?;
        Some(Tensor::new(self.bytes, entry))
    }
}

impl<'a> Image<'a> {
    /// Returns the tensor whose scale and zero point are those of the encoder's feature: what the pooling
    /// gives, or the pooler behind it. None of a model without an encoder.
    pub fn feature(&self) -> Option<Tensor<'a>> {
        let kind = match self.config().pooler {
            true => TensorKind::PoolerTable,
            false => TensorKind::Pooled,
        };
        self.tensor(kind, NO_LAYER)
    }
}

/// A tensor: its directory entry and its data.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    entry: &'a TensorEntry,
    data: &'a [u8],
}

impl<'a> Tensor<'a> {
    fn new(bytes: &'a [u8], entry: &'a TensorEntry) -> Self {
        // `check_entry` has proved the range; an empty slice stands for the impossible.
        let start = entry.offset.get() as usize;
        let data = bytes.get(start..start.saturating_add(entry.len.get() as usize));
        Self {
            entry,
            data: data.unwrap_or(&[]),
        }
    }

    /// Returns the directory entry.
    pub const fn entry(&self) -> &'a TensorEntry {
        self.entry
    }

    /// Returns the data as bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the requantize shifts.
    pub fn scaling(&self) -> Scaling {
        Scaling {
            pre_shift: self.entry.pre_shift,
            shift: self.entry.shift,
        }
    }

    /// Returns the output's zero point.
    pub fn zero_point(&self) -> i32 {
        self.entry.zero_point.into()
    }

    /// Returns the output's scale.
    pub fn scale(&self) -> f32 {
        self.entry.scale.get()
    }

    /// Returns the data as elements of `T`; an empty slice if it is of another type.
    pub fn data<T: FromBytes + KnownLayout + Immutable>(&self) -> &'a [T] {
        <[T]>::ref_from_bytes(self.data).unwrap_or(&[])
    }
}

/// The class names of an image.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Labels<'a> {
    /// Returns the number of classes.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Returns whether the model has no head.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the name of a class.
    pub fn get(&self, class: usize) -> Option<&'a str> {
        self.iter().nth(class)
    }

    /// Returns the names in the order of the logits.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| {
            let (label, after) = split_label(rest)?;
            rest = after;
            core::str::from_utf8(label).ok()
        })
    }
}

fn split_label(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(len.into())
}

fn check_labels(mut bytes: &[u8], count: u16) -> Result<(), ImageError> {
    for index in 0..count {
        let (label, rest) = split_label(bytes).ok_or(ImageError::Labels { index })?;
        core::str::from_utf8(label).map_err(|_| ImageError::Labels { index })?;
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(ImageError::Labels { index: count })
    }
}

/// Returns a section that starts at or after `from` and ends within the image.
fn section<'a>(
    bytes: &'a [u8],
    name: &'static str,
    offset: u32,
    len: u32,
    from: u32,
) -> Result<&'a [u8], ImageError> {
    let bad = ImageError::Section {
        section: name,
        offset,
        len,
    };
    if offset < from {
        return Err(bad);
    }
    let (_, rest) = bytes.split_at_checked(offset as usize).ok_or(bad)?;
    rest.get(..len as usize).ok_or(bad)
}

/// Returns the header's second part, of images that have one.
fn extension<'a>(
    bytes: &'a [u8],
    header: &Header,
) -> Result<Option<&'a HeaderExtension>, ImageError> {
    if header.minor.get() < EXTENSION_MINOR {
        return Ok(None);
    }
    let rest = bytes.get(HEADER_LEN..).unwrap_or(&[]);
    match HeaderExtension::ref_from_prefix(rest) {
        Ok((extension, _)) => Ok(Some(extension)),
        Err(_) => Err(ImageError::TooShort {
            needed: HEADER_LEN + size_of::<HeaderExtension>(),
            found: bytes.len(),
        }),
    }
}

/// Returns the sections of the two tokenizers, which follow the front end.
fn tokenizers<'a>(
    bytes: &'a [u8],
    header: &Header,
    extension: Option<&HeaderExtension>,
    from: u32,
) -> Result<[&'a [u8]; 2], ImageError> {
    let Some(e) = extension else {
        return Ok([&[]; 2]);
    };
    let front_end_end = header.front_end_offset.get();
    let mut from = from.max(front_end_end.saturating_add(header.front_end_len.get()));
    let mut next = |offset: U32, len: U32, name| {
        let (offset, len) = (offset.get(), len.get());
        if (offset, len) == (0, 0) {
            return Ok(&[][..]);
        }
        let found = aligned_section(bytes, name, offset, len, from)?;
        from = offset.saturating_add(len);
        Ok(found)
    };
    Ok([
        next(e.tokenizer_offset, e.tokenizer_len, "tokenizer")?,
        next(e.target_offset, e.target_len, "target tokenizer")?,
    ])
}

/// As [`section`], of one that starts at a multiple of [`TENSOR_ALIGNMENT`].
fn aligned_section<'a>(
    bytes: &'a [u8],
    name: &'static str,
    offset: u32,
    len: u32,
    from: u32,
) -> Result<&'a [u8], ImageError> {
    let found = section(bytes, name, offset, len, from)?;
    match offset.is_multiple_of(TENSOR_ALIGNMENT) {
        true => Ok(found),
        false => Err(ImageError::Section {
            section: name,
            offset,
            len,
        }),
    }
}

/// Returns the front end, checked against the model.
fn front_end<'a>(
    bytes: &'a [u8],
    header: &Header,
    config: &ModelConfig,
    from: u32,
) -> Result<Option<FrontEndTables<'a>>, ImageError> {
    let (offset, len) = (header.front_end_offset.get(), header.front_end_len.get());
    if (offset, len) == (0, 0) {
        return Ok(None);
    }
    let bytes = aligned_section(bytes, "front end", offset, len, from)?;
    let tables = FrontEndTables::parse(bytes)?;
    let bad = |field, found: usize| ImageError::FrontEnd {
        field,
        found: found as u32,
    };
    let expected = config.input.frames().unwrap_or((0, 0));
    if tables.n_frames() != expected.0 {
        return Err(bad("n_frames", tables.n_frames()));
    }
    if tables.n_features() != expected.1 {
        return Err(bad("n_features", tables.n_features()));
    }
    Ok(Some(tables))
}

/// Checks one directory entry against what it must be; returns where its data ends.
fn check_entry(
    bytes: &[u8],
    entry: &TensorEntry,
    spec: &TensorSpec,
    config: &ModelConfig,
    from: u32,
) -> Result<u32, TensorFault> {
    if entry.kind != spec.kind as u8 {
        return Err(TensorFault::Kind(entry.kind));
    }
    if entry.layer.get() != spec.layer {
        return Err(TensorFault::Layer(entry.layer.get()));
    }
    if entry.dtype != spec.kind.data_type() as u8 {
        return Err(TensorFault::DataType(entry.dtype));
    }
    if entry.packing != spec.kind.packing() {
        return Err(TensorFault::Packing(entry.packing));
    }
    let (rows, cols, len) = (entry.rows.get(), entry.cols.get(), entry.len.get());
    if (rows, cols) != (spec.rows, spec.cols) || u64::from(len) != spec.len_bytes() {
        return Err(TensorFault::Shape(rows, cols));
    }
    let offset = entry.offset.get();
    if offset < from || !offset.is_multiple_of(TENSOR_ALIGNMENT) {
        return Err(TensorFault::Offset(offset));
    }
    let end = offset.checked_add(len).ok_or(TensorFault::Offset(offset))?;
    if end as usize > bytes.len() {
        return Err(TensorFault::Offset(offset));
    }
    check_quant(entry, spec, config)?;
    check_values(&Tensor::new(bytes, entry), spec)?;
    Ok(end)
}

fn check_quant(
    entry: &TensorEntry,
    spec: &TensorSpec,
    config: &ModelConfig,
) -> Result<(), TensorFault> {
    let shift_ok = match spec.kind.quant_rule() {
        QuantRule::None => return Ok(()),
        QuantRule::Requantize => Scaling::new(entry.pre_shift, entry.shift).is_some(),
        QuantRule::Norm => matches!(entry.shift, 1..=15),
        QuantRule::Context => matches!(entry.shift, 19..=38),
        QuantRule::Scale => true,
    };
    if !shift_ok {
        return Err(TensorFault::Shift(entry.shift));
    }
    let scale = entry.scale.get();
    if !(scale.is_finite() && scale > 0.0) {
        return Err(TensorFault::Scale);
    }
    // ReLU is the saturation at −128, so zero must stand there.
    if spec.kind == TensorKind::Ff1Epilogue
        && config.activation == Activation::Relu
        && entry.zero_point != i8::MIN
    {
        return Err(TensorFault::Value(entry.zero_point.into()));
    }
    Ok(())
}

fn check_values(tensor: &Tensor<'_>, spec: &TensorSpec) -> Result<(), TensorFault> {
    match spec.kind {
        TensorKind::InputScale => {
            for pair in tensor.data::<[f32; 2]>() {
                let [scale, zero_point] = *pair;
                if !(scale.is_finite() && scale > 0.0) {
                    return Err(TensorFault::Scale);
                }
                if !(-128.0..=127.0).contains(&zero_point) {
                    return Err(TensorFault::Value(zero_point as i32));
                }
            }
            Ok(())
        }
        TensorKind::Softmax
        | TensorKind::Context
        | TensorKind::CrossSoftmax
        | TensorKind::CrossContext => match tensor.data::<i32>() {
            &[mantissa] if mantissa < 0 => Err(TensorFault::Value(mantissa)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
