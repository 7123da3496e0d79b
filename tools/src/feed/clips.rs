//! Labelled data as a device takes it, and as the host's own run reads it: the same samples to the bit.

use crate::audio::{FrontEnd, centre, read_wav};
use crate::data::{DataError, Sample, Source};
use tailtune_app::feed::message::Form;

/// Returns the sound of a sample as i16 `[clip_len]` at the front end's rate, the nearest ones to its own; none of
/// a sample that is no sound.
///
/// # Errors
/// A file that cannot be read.
pub fn sound(sample: &Sample, front_end: &FrontEnd) -> Result<Option<Vec<i16>>, DataError> {
    let config = front_end.config();
    let samples = match &sample.source {
        Source::Wav(path) => centre(&read_wav(path, config.sample_rate)?, config.clip_len),
        Source::Zeros => vec![0.0; config.clip_len],
        _ => return Ok(None),
    };
    // `as` takes what is louder than the loudest for that.
    let nearest = |x: &f32| libm::roundf(x * 32768.0) as i16;
    Ok(Some(samples.iter().map(nearest).collect()))
}

/// Returns the features of sound that a device hears, as its stream computes them.
pub fn features(sound: &[i16], front_end: &FrontEnd) -> Vec<f32> {
    let real = |x: &i16| f32::from(*x) * (1.0 / 32768.0);
    front_end.features(&sound.iter().map(real).collect::<Vec<_>>())
}

/// A clip as a device takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bytes {
    /// What they are.
    pub form: Form,
    /// i16 samples, or int8 values.
    pub bytes: Vec<u8>,
}

impl Bytes {
    /// Sound.
    pub fn of_sound(sound: &[i16]) -> Self {
        let bytes = sound.iter().flat_map(|x| x.to_le_bytes()).collect();
        let form = Form::Sound;
        Self { form, bytes }
    }

    /// Values as the encoder reads them.
    pub fn of_values(values: &[i8]) -> Self {
        let bytes = values.iter().map(|&x| x as u8).collect();
        let form = Form::Values;
        Self { form, bytes }
    }
}
