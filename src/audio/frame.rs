//! One frame.

use crate::image::FrontEndTables;
use crate::rows::rows;
use microfft::{Complex32, real};

/// Computes the features f32 `[n_features]` of one frame of `window_len` samples in −1 to 1.
///
/// `spectrum` is a buffer of `fft_len` numbers whose first `window_len` are the samples, `mel` one of
/// `mel_bins`. Buffers of other lengths give features of the part that fits.
pub fn frame(
    tables: &FrontEndTables<'_>,
    spectrum: &mut [f32],
    mel: &mut [f32],
    features: &mut [f32],
) {
    for (x, w) in spectrum.iter_mut().zip(tables.window()) {
        *x *= w.get();
    }
    for x in spectrum.iter_mut().skip(tables.window_len()) {
        *x = 0.0;
    }
    magnitudes(spectrum);
    for (mel, (first, weights)) in mel.iter_mut().zip(tables.bands()) {
        let bins = spectrum.iter().skip(first).zip(weights);
        let sum = bins.fold(0.0, |sum, (x, w)| sum + x * w.get());
        *mel = libm::logf(if sum > tables.floor() {
            sum
        } else {
            tables.floor()
        });
    }
    let dct = tables.dct();
    if dct.is_empty() {
        for (feature, mel) in features.iter_mut().zip(mel.iter()) {
            *feature = *mel;
        }
        return;
    }
    for (feature, row) in features.iter_mut().zip(rows(dct, tables.mel_bins())) {
        let terms = row.iter().zip(mel.iter());
        *feature = terms.fold(0.0, |sum, (a, b)| sum + a.get() * b);
    }
}

/// Replaces `fft_len` samples by the magnitudes of their bins 0..=`fft_len / 2`, and what follows by
/// leftovers.
fn magnitudes(samples: &mut [f32]) {
    let half = samples.len() / 2;
    let (mut last, mut n) = (0.0, 0);
    if let Some(bins) = transform(samples) {
        // The real value of the highest bin is packed beside that of bin 0.
        last = bins.first().map_or(0.0, |b| b.im);
        if let Some(first) = bins.first_mut() {
            first.im = 0.0;
        }
        for i in 0..bins.len() {
            let Some(bin) = bins.get(i).copied() else {
                break;
            };
            let magnitude = libm::sqrtf(bin.re * bin.re + bin.im * bin.im);
            // Two bins hold four numbers: magnitude i goes where bin i / 2 was read long before.
            if let Some(place) = bins.get_mut(i / 2) {
                if i % 2 == 0 {
                    place.re = magnitude;
                } else {
                    place.im = magnitude;
                }
            }
            n = i + 1;
        }
    }
    if n == half
        && let Some(place) = samples.get_mut(half)
    {
        *place = libm::fabsf(last);
    }
}

/// The Fourier transform in place, by the length of the buffer; none for a length that the image
/// format does not know.
fn transform(samples: &mut [f32]) -> Option<&mut [Complex32]> {
    macro_rules! by_length {
        ($($n:literal => $rfft:ident),*) => {
            match samples.len() {
                $($n => {
                    let samples: &mut [f32; $n] = samples.try_into().ok()?;
                    Some(real::$rfft(samples).as_mut_slice())
                })*
                _ => None,
            }
        };
    }
    by_length!(64 => rfft_64, 128 => rfft_128, 256 => rfft_256, 512 => rfft_512,
        1024 => rfft_1024, 2048 => rfft_2048)
}
