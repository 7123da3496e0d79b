//! A patch: tensors that stand in for an image's own, read in place beside it.
//!
//! What tuning makes of a block: the trunk stays in the image, the tensors that were tuned lie in a tail.
//!
//! ```text
//! offset  bytes
//!      0      4  tensors n, at least 1
//!      4     12  reserved, 0
//!     16   32·n  entries, see `tensor`; offsets count from the patch's start
//!      …         the tensors, each at a multiple of 16, in the layout's order; zeros up to a multiple of 16
//! ```
//!
//! An entry says everything that the image's entry says, so a tuned tensor may have other shifts and
//! scales. The checks are the image's own: kind, shape, shifts, values.

use super::tensor::{Layout, TensorEntry, TensorKind, TensorSpec};
use super::{Image, ImageError, ModelConfig, Tensor, check_entry};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes before the entries.
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = size_of::<TensorEntry>();

/// A checked patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch<'a> {
    bytes: &'a [u8],
    entries: &'a [TensorEntry],
}

impl<'a> Patch<'a> {
    /// Checks bytes against the image that they are for.
    pub fn parse(bytes: &'a [u8], image: &Image<'_>) -> Result<Self, ImageError> {
        if !bytes.as_ptr().addr().is_multiple_of(super::ALIGNMENT) {
            return Err(ImageError::Misaligned);
        }
        let short = |needed| ImageError::TooShort {
            needed,
            found: bytes.len(),
        };
        let header = bytes.split_first_chunk::<HEADER_BYTES>();
        let (header, rest) = header.ok_or(short(HEADER_BYTES))?;
        let [c0, c1, c2, c3, reserved @ ..] = *header;
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        let len = (count as usize).saturating_mul(ENTRY_BYTES);
        let entries = rest
            .get(..len)
            .ok_or(short(len.saturating_add(HEADER_BYTES)))?;
        let bad = ImageError::Section {
            section: "patch",
            offset: 0,
            len: bytes.len() as u32,
        };
        if count == 0 || reserved != [0; 12] {
            return Err(bad);
        }
        let entries = <[TensorEntry]>::ref_from_bytes(entries).map_err(|_| bad)?;
        let mut specs = image.layout.iter();
        let mut end = (HEADER_BYTES + len) as u32;
        for entry in entries {
            // Each comes after the one before it in the layout.
            let spec = specs.find(|s| s.kind as u8 == entry.kind && s.layer == entry.layer.get());
            let spec = spec.ok_or(bad)?;
            end = check_entry(bytes, entry, &spec, image.config(), end).map_err(|reason| {
                ImageError::Tensor {
                    kind: spec.kind,
                    layer: spec.layer,
                    reason,
                }
            })?;
        }
        let padding = bytes.get(end as usize..).unwrap_or(&[]);
        if padding.len() > 15 || padding.iter().any(|&b| b != 0) {
            return Err(bad);
        }
        Ok(Self { bytes, entries })
    }

    /// Returns a tensor, if the patch has it.
    pub fn tensor(&self, kind: TensorKind, layer: u16) -> Option<Tensor<'a>> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|e| e.kind == kind as u8 && e.layer.get() == layer)?;
        Some(Tensor::new(self.bytes, entry))
    }
}

/// Returns the specs of some tensors, in the layout's order.
fn chosen<'l>(
    layout: &'l Layout,
    choose: &'l impl Fn(&TensorSpec) -> bool,
) -> impl Iterator<Item = TensorSpec> + 'l {
    layout.iter().filter(move |spec| choose(spec))
}

/// Returns the bytes that a tensor of so many takes in a patch, its entry included; 0 for none.
const fn tensor_bytes(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        ENTRY_BYTES + len.next_multiple_of(16)
    }
}

/// Returns the bytes of a patch of the tensors that `choose` names.
pub fn patch_bytes(image: &Image<'_>, choose: impl Fn(&TensorSpec) -> bool) -> usize {
    let specs = chosen(&image.layout, &choose);
    HEADER_BYTES
        + specs
            .map(|spec| tensor_bytes(spec.len_bytes() as usize))
            .sum::<usize>()
}

/// Returns the bytes of a patch of one block's tensors of some kinds, before there is an image: those of
/// [`patch_bytes`]. Kinds that the model does not have do not count.
pub(crate) const fn planned_patch_bytes(config: &ModelConfig, mut kinds: &[TensorKind]) -> usize {
    let mut bytes = HEADER_BYTES;
    while let Some((kind, rest)) = kinds.split_first() {
        bytes += tensor_bytes(kind.len_bytes(config) as usize);
        kinds = rest;
    }
    bytes
}

/// Writes a patch that holds an image's tensors as they are, of those that `choose` names: where tuning
/// starts from. Returns its length.
///
/// # Errors
/// [`ImageError::TooShort`] if `out` is shorter than [`patch_bytes`].
pub fn copy_patch(
    image: &Image<'_>,
    choose: impl Fn(&TensorSpec) -> bool,
    out: &mut [u8],
) -> Result<usize, ImageError> {
    let needed = patch_bytes(image, &choose);
    let found = out.len();
    let short = ImageError::TooShort { needed, found };
    let out = out.get_mut(..needed).ok_or(short)?;
    out.fill(0);
    let count = chosen(&image.layout, &choose).count();
    let (header, rest) = out.split_at_mut_checked(HEADER_BYTES).ok_or(short)?;
    let (entries, mut data) = rest
        .split_at_mut_checked(count * ENTRY_BYTES)
        .ok_or(short)?;
    for (to, from) in header.iter_mut().zip((count as u32).to_le_bytes()) {
        *to = from;
    }
    let mut offset = HEADER_BYTES + count * ENTRY_BYTES;
    let (entries, _) = entries.as_chunks_mut::<ENTRY_BYTES>();
    for (place, spec) in entries.iter_mut().zip(chosen(&image.layout, &choose)) {
        let tensor = image.tensor(spec.kind, spec.layer).ok_or(short)?;
        let mut entry = *tensor.entry();
        entry.offset = U32::new(offset as u32);
        for (to, from) in place.iter_mut().zip(entry.as_bytes()) {
            *to = *from;
        }
        let padded = tensor.bytes().len().next_multiple_of(16);
        let (own, rest) = data.split_at_mut_checked(padded).ok_or(short)?;
        for (to, from) in own.iter_mut().zip(tensor.bytes()) {
            *to = *from;
        }
        data = rest;
        offset += padded;
    }
    Ok(needed)
}

/// Lends a tensor's entry and data in a patch that [`copy_patch`] has written, to be changed; none if it
/// has no such tensor. What is changed is checked when the patch is parsed.
pub fn patch_tensor_mut(
    bytes: &mut [u8],
    kind: TensorKind,
    layer: u16,
) -> Option<(&mut TensorEntry, &mut [u8])> {
    let (header, rest) = bytes.split_at_mut_checked(HEADER_BYTES)?;
    let count = u32::from_le_bytes(*header.first_chunk()?) as usize;
    let (entries, data) = rest.split_at_mut_checked(count.checked_mul(ENTRY_BYTES)?)?;
    let before = HEADER_BYTES + entries.len();
    let entries = <[TensorEntry]>::mut_from_bytes(entries).ok()?;
    let mut entries = entries.iter_mut();
    let entry = entries.find(|e| e.kind == kind as u8 && e.layer.get() == layer)?;
    let start = (entry.offset.get() as usize).checked_sub(before)?;
    let data = data.get_mut(start..)?.get_mut(..entry.len.get() as usize)?;
    Some((entry, data))
}

/// Returns where a tensor's data lies in a patch that [`copy_patch`] has written.
pub fn patch_range(bytes: &[u8], kind: TensorKind, layer: u16) -> Option<core::ops::Range<usize>> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let count = u32::from_le_bytes(*header.first_chunk()?) as usize;
    let entries = rest.get(..count.checked_mul(ENTRY_BYTES)?)?;
    let entries = <[TensorEntry]>::ref_from_bytes(entries).ok()?;
    let mut entries = entries.iter();
    let entry = entries.find(|e| e.kind == kind as u8 && e.layer.get() == layer)?;
    let start = entry.offset.get() as usize;
    Some(start..start.checked_add(entry.len.get() as usize)?)
}
