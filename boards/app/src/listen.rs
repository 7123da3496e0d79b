//! Sound in blocks, as a microphone gives it → frames → logits.

use crate::error::{AppError, PlatformError, room};
use crate::feed::{FFT, MEL};
use crate::job::{Job, LABEL_BYTES};
use crate::session::{MAX_CLASSES, Platform};
use tailtune::audio::{Ring, Stream};
use tailtune::image::{Image, InputKind};
use tailtune::model::{Encoder, Head, Input};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a block: 8 ms at 16 kHz.
const BLOCK: usize = 256;

/// Streams every test clip through the image's front end; writes its frames and what the model says
/// of the last of them. `memory` holds those.
pub(crate) fn listen<P: Platform, E>(
    platform: &mut P,
    job: &Job,
    image: &Image<'_>,
    mut encoder: Encoder<'_>,
    memory: &mut [u8],
) -> Result<(), AppError<E>> {
    let tables = image.front_end().ok_or(AppError::FrontEnd)?;
    let head = Head::new(image)?;
    let InputKind::Frames {
        n_frames,
        n_features,
    } = image.config().input
    else {
        return Err(AppError::FrontEnd);
    };
    let frames = room(memory, u32::from(n_frames) * u32::from(n_features))?;
    let frames = <[i8]>::mut_from_bytes(frames).map_err(|_| AppError::FrontEnd)?;
    for clip in 0..job.test {
        let mut stream = Stream::<FFT, MEL>::new(tables).map_err(|_| AppError::FrontEnd)?;
        let mut ring = Ring::new(image, frames).map_err(|_| AppError::FrontEnd)?;
        let offset = job.sample_offset(job.train.saturating_add(clip));
        let start = offset
            .ok_or(PlatformError)?
            .saturating_add(LABEL_BYTES as u32);
        let (mut done, mut block) = (0, [0u8; BLOCK]);
        while done < job.sample_len {
            let len = (job.sample_len - done).min(BLOCK as u32);
            let bytes = room(&mut block, len)?;
            platform.read_job(start.saturating_add(done), bytes)?;
            done += len;
            hear(platform, &mut stream, &mut ring, bytes)?;
        }
        let features = encoder.forward(Input::Frames(ring.frames()))?;
        let mut logits = [0i16; MAX_CLASSES];
        head.logits(&features, &mut logits);
        let n = head.n_classes().min(MAX_CLASSES);
        platform.write_result(logits.get(..n).unwrap_or_default().as_bytes())?;
        platform.progress("listen", clip + 1, job.test);
    }
    Ok(())
}

fn hear<P: Platform>(
    platform: &mut P,
    stream: &mut Stream<'_, FFT, MEL>,
    ring: &mut Ring<'_, '_>,
    bytes: &[u8],
) -> Result<(), PlatformError> {
    let mut result = Ok(());
    let mut samples = [0i16; BLOCK / 2];
    for (sample, pair) in samples.iter_mut().zip(bytes.chunks_exact(2)) {
        *sample = pair.try_into().map_or(0, i16::from_le_bytes);
    }
    let heard = samples.get(..bytes.len() / 2).unwrap_or_default();
    stream.push(heard, |frame| {
        ring.push(frame);
        if result.is_ok() {
            result = platform.write_result(frame.as_bytes());
        }
    });
    result
}
