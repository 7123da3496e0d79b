//! Text → token ids, by the tokenizer that the image carries.

use crate::error::AppError;
use crate::samples::{JobSamples, as_f32_mut};
use crate::session::Platform;
use tailtune::image::Image;
use tailtune::text::Tokenizer;
use zerocopy::{FromBytes, IntoBytes};

/// Reports the number of tokens of every test text, and their ids. `memory` is the workspace.
pub(crate) fn tokenize<P: Platform, E>(
    mut samples: JobSamples<'_, P>,
    memory: &mut [u8],
    image: &Image<'_>,
) -> Result<(), AppError<E>> {
    let tokenizer = Tokenizer::parse(image.tokenizer())?;
    let memory = as_f32_mut(memory).as_mut_bytes();
    let work = <[u32]>::mut_from_bytes(memory).unwrap_or_default();
    for i in 0..samples.job.test {
        samples.read(samples.job.train.saturating_add(i))?;
        let text = samples.input.split(|&byte| byte == 0).next();
        let text = text.and_then(|text| core::str::from_utf8(text).ok());
        let text = text.ok_or(AppError::Job)?;
        let n = tokenizer.tokens(text, work)?.count() as u32;
        samples.platform.write_result(n.as_bytes())?;
        for id in tokenizer.tokens(text, work)? {
            samples.platform.write_result(id?.as_bytes())?;
        }
        samples
            .platform
            .progress("tokenize", i + 1, samples.job.test);
    }
    Ok(())
}
