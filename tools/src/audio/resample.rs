//! Rate conversion by rubato's FFT resampler.

use rubato::{FftFixedIn, Resampler};

/// Returns `samples` at `to` samples a second, aligned with the input and as long as it in time.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || samples.is_empty() {
        return samples.to_vec();
    }
    // A chunk that both halves of the converter's transform divide evenly: then its delay is a whole
    // number of samples.
    let unit = 4 * from as usize / gcd(from, to) as usize;
    let chunk_len = unit * 1024usize.div_ceil(unit);
    let Ok(mut resampler) = FftFixedIn::<f32>::new(from as usize, to as usize, chunk_len, 2, 1)
    else {
        return samples.to_vec();
    };
    let len = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from)) as usize;
    let delay = resampler.output_delay();
    let mut out = Vec::with_capacity(len + delay + 2 * chunk_len);
    let mut chunks = samples.chunks(chunk_len);
    // The converter answers late: silence after the end pushes the rest out.
    while out.len() < len + delay {
        let mut chunk = chunks.next().unwrap_or(&[]).to_vec();
        chunk.resize(chunk_len, 0.0);
        match resampler.process(&[chunk], None) {
            Ok(mut channels) => out.append(&mut channels[0]),
            Err(_) => break,
        }
    }
    out.drain(..delay.min(out.len()));
    out.resize(len, 0.0);
    out
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
