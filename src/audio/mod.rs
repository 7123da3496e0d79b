//! Sound → frames: mel-frequency cepstral coefficients and log-mel bands, in single precision in a
//! fixed order, so that a host and a device that hear the same samples read the same bits.
//!
//! ```text
//! frame        window_len samples every hop_len, times the window, zero-padded to fft_len
//! spectrum     |DFT|, bins 0..=fft_len / 2
//! mel          a weighted sum of each band's bins, first to last
//! log          ln(max(mel, floor))
//! cepstrum     DCT-II of that, for MFCC (Davis & Mermelstein, 1980)
//! ```
//!
//! The tables come from the image ([`FrontEndTables`]), the Fourier transform from `microfft`, the
//! logarithm and the square root from `libm`. [`Stream`] takes samples in blocks of any length and
//! gives a frame every hop; [`Ring`] keeps the last frames as the encoder reads them.

mod frame;
mod ring;
mod stream;

pub use frame::frame;
pub use ring::Ring;
pub use stream::{AudioError, Stream};

pub use crate::image::{FrontEndKind, FrontEndTables};
