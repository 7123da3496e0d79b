//! What makes frames out of sound: the section of a sound model that holds its front end's tables.
//!
//! ```text
//! offset size field
//!  0     1    kind           0 MFCC, 1 log-mel
//!  1     3    reserved       0
//!  4     4    sample rate    1..=384000 Hz
//!  8     4    clip_len       samples of one input: (clip_len − window_len) / hop_len + 1 frames
//! 12     2    window_len     1..=fft_len samples
//! 14     2    hop_len        at least 1 sample
//! 16     2    fft_len        a power of two, 64..=2048
//! 18     2    mel_bins       1..=1024
//! 20     2    n_features     1..=mel_bins; mel_bins for log-mel
//! 22     2    reserved       0
//! 24     4    floor          f32 above 0: the least value that is taken the logarithm of
//! 28     4    n_weights      mel weights of all bands together
//! 32          window         f32, window_len of them
//!             bands          per band u16 first bin and u16 number of bins, within fft_len / 2 + 1
//!             weights        f32, n_weights of them, band after band
//!             DCT            f32, n_features rows of mel_bins; MFCC only
//! ```
//!
//! The tables fill the section exactly, and every float is finite.

use super::ImageError;
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The shortest Fourier transform.
pub const MIN_FFT: u16 = 64;
/// The longest Fourier transform.
pub const MAX_FFT: u16 = 2048;
/// The most mel bands.
pub const MAX_MEL: u16 = 1024;

/// What a front end gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrontEndKind {
    /// Mel-frequency cepstral coefficients.
    Mfcc,
    /// The logarithms of the mel bands.
    LogMel,
}

/// The first 32 bytes of the section: see the [module](self).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontEndRecord {
    /// 0 MFCC, 1 log-mel.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Samples per second.
    pub sample_rate: U32,
    /// Samples of one input.
    pub clip_len: U32,
    /// Samples of one frame.
    pub window_len: U16,
    /// Samples from one frame to the next.
    pub hop_len: U16,
    /// Points of the Fourier transform.
    pub fft_len: U16,
    /// Mel bands.
    pub mel_bins: U16,
    /// Features of one frame.
    pub n_features: U16,
    /// Zero.
    pub reserved_2: U16,
    /// Least value that is taken the logarithm of.
    pub floor: F32,
    /// Mel weights of all bands.
    pub n_weights: U32,
}

/// One mel band: which bins of the spectrum it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Band {
    /// The first bin.
    pub first: U16,
    /// Bins.
    pub len: U16,
}

/// A checked front end: its numbers, and its tables where they lie.
#[derive(Debug, Clone, Copy)]
pub struct FrontEndTables<'a> {
    bytes: &'a [u8],
    kind: FrontEndKind,
    record: &'a FrontEndRecord,
    window: &'a [F32],
    bands: &'a [Band],
    weights: &'a [F32],
    dct: &'a [F32],
}

impl<'a> FrontEndTables<'a> {
    /// Checks the bytes of a section.
    ///
    /// # Errors
    /// [`ImageError::FrontEnd`] names the first field that is out of range, or the table that does
    /// not fit or holds what is no number.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let bad = |field, found: u32| ImageError::FrontEnd { field, found };
        let short = |_| bad("length", bytes.len() as u32);
        let (record, rest) = FrontEndRecord::ref_from_prefix(bytes).map_err(short)?;
        let kind = check(record)?;
        let (window, rest) = table::<F32>(rest, record.window_len.get().into(), "window")?;
        let (bands, rest) = table::<Band>(rest, record.mel_bins.get().into(), "bands")?;
        let (weights, rest) = table::<F32>(rest, record.n_weights.get() as usize, "weights")?;
        let n_dct = match kind {
            FrontEndKind::Mfcc => {
                usize::from(record.n_features.get()) * usize::from(record.mel_bins.get())
            }
            FrontEndKind::LogMel => 0,
        };
        let (dct, rest) = table::<F32>(rest, n_dct, "DCT")?;
        if !rest.is_empty() {
            return Err(bad("length", bytes.len() as u32));
        }
        for (field, table) in [("window", window), ("weights", weights), ("DCT", dct)] {
            if let Some(x) = table.iter().find(|x| !x.get().is_finite()) {
                return Err(bad(field, x.get().to_bits()));
            }
        }
        check_bands(bands, record)?;
        Ok(Self {
            bytes,
            kind,
            record,
            window,
            bands,
            weights,
            dct,
        })
    }

    /// Returns the section's bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns what the front end gives.
    pub const fn kind(&self) -> FrontEndKind {
        self.kind
    }

    /// Returns the samples per second.
    pub fn sample_rate(&self) -> u32 {
        self.record.sample_rate.get()
    }

    /// Returns the samples of one input.
    pub fn clip_len(&self) -> usize {
        self.record.clip_len.get() as usize
    }

    /// Returns the samples of one frame.
    pub fn window_len(&self) -> usize {
        self.record.window_len.get().into()
    }

    /// Returns the samples from one frame to the next.
    pub fn hop_len(&self) -> usize {
        self.record.hop_len.get().into()
    }

    /// Returns the points of the Fourier transform.
    pub fn fft_len(&self) -> usize {
        self.record.fft_len.get().into()
    }

    /// Returns the number of mel bands.
    pub fn mel_bins(&self) -> usize {
        self.record.mel_bins.get().into()
    }

    /// Returns the features of one frame.
    pub fn n_features(&self) -> usize {
        self.record.n_features.get().into()
    }

    /// Returns the frames of one input.
    pub fn n_frames(&self) -> usize {
        (self.clip_len() - self.window_len()) / self.hop_len().max(1) + 1
    }

    /// Returns the least value that is taken the logarithm of.
    pub fn floor(&self) -> f32 {
        self.record.floor.get()
    }

    /// Returns the window `[window_len]`.
    pub const fn window(&self) -> &'a [F32] {
        self.window
    }

    /// Returns each band's first bin and its weights.
    pub fn bands(&self) -> impl Iterator<Item = (usize, &'a [F32])> + use<'a> {
        let mut rest = self.weights;
        self.bands.iter().map(move |band| {
            let (weights, after) = rest
                .split_at_checked(band.len.get().into())
                .unwrap_or_default();
            rest = after;
            (band.first.get().into(), weights)
        })
    }

    /// Returns the cosine transform `[n_features, mel_bins]`; empty for log-mel.
    pub const fn dct(&self) -> &'a [F32] {
        self.dct
    }
}

/// Checks the numbers that need no table.
fn check(r: &FrontEndRecord) -> Result<FrontEndKind, ImageError> {
    let bad = |field, found: u32| Err(ImageError::FrontEnd { field, found });
    let kind = match r.kind {
        0 => FrontEndKind::Mfcc,
        1 => FrontEndKind::LogMel,
        other => return bad("kind", other.into()),
    };
    let (window, hop, fft) = (r.window_len.get(), r.hop_len.get(), r.fft_len.get());
    let (mel, features) = (r.mel_bins.get(), r.n_features.get());
    let floor = r.floor.get();
    if r.reserved != [0; 3] || r.reserved_2.get() != 0 {
        return bad("reserved", r.reserved_2.get().into());
    }
    if !(1..=384_000).contains(&r.sample_rate.get()) {
        return bad("sample rate", r.sample_rate.get());
    }
    if !fft.is_power_of_two() || !(MIN_FFT..=MAX_FFT).contains(&fft) {
        return bad("fft_len", fft.into());
    }
    if window == 0 || window > fft {
        return bad("window_len", window.into());
    }
    if hop == 0 {
        return bad("hop_len", hop.into());
    }
    if r.clip_len.get() < window.into() || r.clip_len.get() > 1 << 24 {
        return bad("clip_len", r.clip_len.get());
    }
    if mel == 0 || mel > MAX_MEL {
        return bad("mel_bins", mel.into());
    }
    if features == 0 || features > mel || (kind == FrontEndKind::LogMel && features != mel) {
        return bad("n_features", features.into());
    }
    if !(floor.is_finite() && floor > 0.0) {
        return bad("floor", floor.to_bits());
    }
    Ok(kind)
}

fn check_bands(bands: &[Band], r: &FrontEndRecord) -> Result<(), ImageError> {
    let bins = u32::from(r.fft_len.get()) / 2 + 1;
    let mut total = 0u32;
    for band in bands {
        let end = u32::from(band.first.get()) + u32::from(band.len.get());
        if end > bins {
            return Err(ImageError::FrontEnd {
                field: "bands",
                found: end,
            });
        }
        total += u32::from(band.len.get());
    }
    let found = r.n_weights.get();
    match total == found {
        true => Ok(()),
        false => Err(ImageError::FrontEnd {
            field: "n_weights",
            found,
        }),
    }
}

/// Splits `n` elements off.
fn table<'a, T: FromBytes + Immutable + KnownLayout>(
    bytes: &'a [u8],
    n: usize,
    field: &'static str,
) -> Result<(&'a [T], &'a [u8]), ImageError> {
    let found = bytes.len() as u32;
    <[T]>::ref_from_prefix_with_elems(bytes, n).map_err(|_| ImageError::FrontEnd { field, found })
}
