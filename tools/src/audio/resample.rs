//! Rate conversion by rubato's FFT resampler.

use rubato::{FftFixedIn, Resampler};

/// Returns `samples` at `to` samples a second, aligned with the input and as long as it in time.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || samples.is_empty() {
        return samples.to_vec();
    }
    const CHUNK: usize = 1024;
    let Ok(mut resampler) = FftFixedIn::<f32>::new(from as usize, to as usize, CHUNK, 2, 1) else {
        return samples.to_vec();
    };
    let len = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from)) as usize;
    let delay = resampler.output_delay();
    let mut out = Vec::with_capacity(len + delay + 2 * CHUNK);
    let mut chunks = samples.chunks(CHUNK);
    // The converter answers late: silence after the end pushes the rest out.
    while out.len() < len + delay {
        let mut chunk = chunks.next().unwrap_or(&[]).to_vec();
        chunk.resize(CHUNK, 0.0);
        match resampler.process(&[chunk], None) {
            Ok(mut channels) => out.append(&mut channels[0]),
            Err(_) => break,
        }
    }
    out.drain(..delay.min(out.len()));
    out.resize(len, 0.0);
    out
}
