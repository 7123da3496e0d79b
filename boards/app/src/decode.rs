//! The decoder's output for every test sample of a job.

use crate::error::AppError;
use crate::samples::JobSamples;
use crate::session::Platform;
use core::ops::ControlFlow;
use tailtune::image::Image;
use tailtune::model::Decoder;
use zerocopy::IntoBytes;

/// The most tokens of one output; a longer one is cut.
const MAX_OUTPUT: usize = 64;

/// Encodes every test sample step by step, decodes greedily, and writes what [`outcome`](crate::outcome)
/// says.
#[inline(never)]
pub(crate) fn decode<P: Platform, E>(
    mut samples: JobSamples<'_, P>,
    arena: &mut [u8],
    image: &Image<'_>,
) -> Result<(), AppError<E>> {
    let mut decoder = Decoder::new(image, arena, 1)?;
    let (first, count) = (samples.job.train, samples.job.test);
    for i in 0..count {
        samples.read(first.saturating_add(i))?;
        samples.platform.restart_clock();
        {
            let mut encoding = decoder.begin(crate::samples::as_input(
                samples.input,
                image.config().input,
            ))?;
            while encoding.step() {
                samples.platform.between_steps();
            }
        }
        let encoded = samples.platform.clock();
        let mut tokens = [0; MAX_OUTPUT];
        let end = decoder.greedy(&mut tokens, |_| {
            samples.platform.between_steps();
            ControlFlow::Continue(())
        })?;
        let decoded = samples.platform.clock();
        let took = [encoded, decoded.wrapping_sub(encoded)];
        samples.platform.write_result(took.as_bytes())?;
        samples
            .platform
            .write_result((end.len() as u32).as_bytes())?;
        let tokens = tokens.get(..end.len()).unwrap_or_default();
        samples.platform.write_result(tokens.as_bytes())?;
        samples.platform.progress("decode", i + 1, count);
    }
    Ok(())
}
