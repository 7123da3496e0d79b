//! One host's visit: clips and answers, and what is learned from them.

use super::frame::MAX_PAYLOAD;
use super::message::{Answer, Clip, Form, NO_LABEL, Reason, Refused, Request, Welcome, kind};
use super::port::Port;
use super::{FFT, Line, LineFailed, MEL};
use crate::error::AppError;
use crate::job::{Job, names};
use crate::outcome::Outcome;
use crate::samples::{as_i8, as_i8_mut, first_greatest};
use crate::session::{MAX_CLASSES, Memory, larger};
use crate::{Platform, tune};
use embedded_storage::nor_flash::NorFlash;
use tailtune::audio::{Ring, Stream};
use tailtune::image::Image;
use tailtune::model::{Encoder, Head, Input, InputError};
use tailtune::store::Store;
use tailtune::store::record::checksum;
use tailtune::tune::{HeadOrigin, Replay, Start, Tail, TuneError, Workspace, argmax};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

/// Classes of a head that are not told apart: labels of classes that are still to be added are above its own.
const ANY_LABEL: usize = NO_LABEL as usize;

/// How a part of a visit ended.
enum Next {
    /// The host has gone.
    Gone,
    /// A request waits that another part takes.
    Open,
}

/// Why a clip has no answer.
enum Stop {
    /// It is refused.
    Refused(Refused),
    /// Another request came in the middle of it, and waits.
    Open,
    /// The line gave up.
    Gone,
    Line(LineFailed),
}

impl From<LineFailed> for Stop {
    fn from(e: LineFailed) -> Self {
        Self::Line(e)
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<InputError> for Refused {
    fn from(e: InputError) -> Self {
        match e {
            InputError::Length { found, max, .. } => {
                Self::sizes(Reason::Length, max as u32, found as u32)
            }
            _ => Self::new(Reason::Length),
        }
    }
}

impl From<TuneError> for Refused {
    fn from(e: TuneError) -> Self {
        match e {
            TuneError::BufferTooSmall { needed, found, .. } => {
                Self::sizes(Reason::Memory, needed as u32, found as u32)
            }
            TuneError::ReplayFull { capacity } => {
                Self::sizes(Reason::Shots, capacity as u32 + 1, capacity as u32)
            }
            TuneError::HeadsOnly => Self::new(Reason::Method),
            _ => Self::new(Reason::Tune),
        }
    }
}

impl<E> From<AppError<E>> for Refused {
    fn from(e: AppError<E>) -> Self {
        match e {
            AppError::Tune(e) => e.into(),
            AppError::Store(_) => Self::new(Reason::Store),
            _ => Self::new(Reason::Tune),
        }
    }
}

/// What answers a clip.
struct Listener<'l, 'a> {
    image: &'l Image<'a>,
    head: Head<'a>,
    tail: Option<Tail<'l>>,
    /// As many numbers as the tail has classes.
    logits: &'l mut [f32],
    input: &'l mut [u8],
}

impl<const A: usize, const I: usize, const C: usize, const N: usize, const W: usize>
    Memory<A, I, C, N, W>
{
    /// Answers a host until it says goodbye or the line gives up; at once where nothing has come. Clips are
    /// answered by the newest tail that flash holds, or else by the image's own head.
    ///
    /// # Errors
    /// [`LineFailed`]: everything else is told to the host.
    #[inline(never)]
    pub fn feed<L: Line, F: NorFlash>(
        &mut self,
        line: &mut L,
        image: &[u8],
        store: &mut Store<F>,
    ) -> Result<(), LineFailed> {
        let mut port = Port::new(line);
        if !port.anything()? {
            return Ok(());
        }
        let Ok(image) = Image::parse(image) else {
            return refuse_all(&mut port, &Refused::new(Reason::Image)).map(drop);
        };
        while let Next::Open = self.answer(&mut port, &image, store)? {
            if let Next::Gone = self.learn(&mut port, &image, store)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers clips, until the host wants the device to learn.
    #[inline(never)]
    fn answer<L: Line, F: NorFlash>(
        &mut self,
        port: &mut Port<'_, L>,
        image: &Image<'_>,
        store: &mut Store<F>,
    ) -> Result<Next, LineFailed> {
        let mut work = self.work.workspace();
        let (tail, bytes) = match newest(image, store, &mut work) {
            Ok(found) => found,
            Err(refused) => return refuse_all(port, &refused),
        };
        let block = tail.as_ref().map_or(&[][..], |tail| tail.block());
        let classes = tail.as_ref().map_or(0, HeadOrigin::classes);
        let (patched, logits) = match (image.patched(block), work.take(classes)) {
            (Ok(patched), Ok(logits)) => (patched, logits),
            _ => return refuse_all(port, &Refused::new(Reason::Tail)),
        };
        let (Ok(mut encoder), Ok(head)) = (
            Encoder::new(&patched, self.arena.as_mut_slice()),
            self::head(image),
        ) else {
            return refuse_all(port, &Refused::new(Reason::Encoder));
        };
        let welcome = welcome::<L>(image, &head, N, bytes);
        let mut listener = Listener {
            image,
            head,
            tail,
            logits,
            input: self.input.as_mut_slice(),
        };
        while port.wait()? {
            match port.request() {
                Some(Request::Hello) => port.reply(kind::WELCOME, welcome.as_bytes())?,
                Some(Request::Bye) => {
                    port.ready()?;
                    return Ok(Next::Gone);
                }
                Some(Request::Clip(clip)) => {
                    if !listener.clip(port, &mut encoder, &clip, None)? {
                        return Ok(Next::Gone);
                    }
                }
                Some(Request::Learn(..)) => {
                    port.unread();
                    return Ok(Next::Open);
                }
                Some(Request::Data(_) | Request::Fit) | None => {
                    port.refuse(&Refused::new(Reason::Message))?;
                }
            }
        }
        Ok(Next::Gone)
    }

    /// Learns from the labelled ones of the clips that follow, from the image's own head on, and fits and saves
    /// when it is told to.
    #[inline(never)]
    fn learn<L: Line, F: NorFlash>(
        &mut self,
        port: &mut Port<'_, L>,
        image: &Image<'_>,
        store: &mut Store<F>,
    ) -> Result<Next, LineFailed> {
        let mut work = self.work.workspace();
        let [labels, _] = &mut self.labels;
        let (job, added, mut replay) = match begin(port, image, &mut work, labels) {
            Ok(begun) => begun,
            Err(refused) => {
                port.refuse(&refused)?;
                return Ok(Next::Open);
            }
        };
        let (Ok(mut encoder), Ok(head)) = (
            Encoder::new(image, self.arena.as_mut_slice()),
            self::head(image),
        ) else {
            port.refuse(&Refused::new(Reason::Encoder))?;
            return Ok(Next::Open);
        };
        port.ready()?;
        let mut listener = Listener {
            image,
            head,
            tail: None,
            logits: &mut [],
            input: self.input.as_mut_slice(),
        };
        loop {
            if !port.wait()? {
                return Ok(Next::Gone);
            }
            match port.request() {
                Some(Request::Clip(clip)) => {
                    if !listener.clip(port, &mut encoder, &clip, Some(&mut replay))? {
                        return Ok(Next::Gone);
                    }
                }
                Some(Request::Fit) => break,
                // Another host, or the same one anew: what was learned is forgotten.
                Some(Request::Hello | Request::Bye | Request::Learn(..)) => {
                    port.unread();
                    return Ok(Next::Open);
                }
                Some(Request::Data(_)) | None => port.refuse(&Refused::new(Reason::Message))?,
            }
        }
        let start = Start {
            image,
            head: &listener.head,
            state: None,
        };
        let method = tune::Job {
            recipe: &job.recipe,
            added: &|| names(added),
        };
        let work = larger(self.arena.as_mut_slice(), work);
        match method.tune(port, start, &mut self.names, &mut replay, work, store) {
            Err(e) => port.refuse(&e.into())?,
            Ok(done) => {
                let outcome = Outcome::new(&job, [0; 2], &done);
                port.reply(kind::TUNED, outcome.as_bytes())?;
            }
        }
        // From now on the new tail answers.
        Ok(Next::Open)
    }
}

impl Listener<'_, '_> {
    /// Takes a clip that was announced and answers it; keeps its features in `replay` where it has a label.
    /// Returns false where the line gave up.
    fn clip<L: Line>(
        &mut self,
        port: &mut Port<'_, L>,
        encoder: &mut Encoder<'_>,
        clip: &Clip,
        replay: Option<&mut Replay<'_>>,
    ) -> Result<bool, LineFailed> {
        let answered = self
            .take(port, clip)
            .and_then(|len| self.run(port, encoder, len, clip.label.get(), replay));
        match answered {
            Ok(()) | Err(Stop::Open) => Ok(true),
            Err(Stop::Refused(refused)) => port.refuse(&refused).map(|()| true),
            Err(Stop::Gone) => Ok(false),
            Err(Stop::Line(e)) => Err(e),
        }
    }

    /// Takes a clip's bytes; the last ones are still to be replied to. Returns the length of the input.
    fn take<L: Line>(&mut self, port: &mut Port<'_, L>, clip: &Clip) -> Result<usize, Stop> {
        let bytes = clip.bytes.get() as usize;
        match clip.form {
            Form::Values => {
                let found = self.input.len() as u32;
                let place = self.input.get_mut(..bytes).filter(|_| bytes > 0);
                let place = place.ok_or(Refused::sizes(Reason::Length, found, bytes as u32))?;
                let mut done = 0;
                receive(port, bytes, |part| {
                    let end = done + part.len();
                    if let Some(place) = place.get_mut(done..end) {
                        place.copy_from_slice(part);
                    }
                    done = end;
                })?;
                Ok(bytes)
            }
            Form::Sound => self.listen(port, bytes),
        }
    }

    #[inline(never)]
    fn listen<L: Line>(&mut self, port: &mut Port<'_, L>, bytes: usize) -> Result<usize, Stop> {
        let no_front_end = Refused::new(Reason::FrontEnd);
        let tables = self.image.front_end().ok_or(no_front_end)?;
        let len = input_len(self.image);
        let place = self.input.get_mut(..len).ok_or(no_front_end)?;
        let mut stream = Stream::<FFT, MEL>::new(tables).map_err(|_| no_front_end)?;
        let mut ring = Ring::new(self.image, as_i8_mut(place)).map_err(|_| no_front_end)?;
        receive(port, bytes, |part| {
            for pair in part.chunks_exact(2) {
                let sample = pair.try_into().map_or(0, i16::from_le_bytes);
                stream.push(&[sample], |frame| ring.push(frame));
            }
        })?;
        match ring.is_full() {
            true => Ok(len),
            // Too short for one input.
            false => {
                Err(
                    Refused::sizes(Reason::Length, (2 * tables.clip_len()) as u32, bytes as u32)
                        .into(),
                )
            }
        }
    }

    #[inline(never)]
    fn run<L: Line>(
        &mut self,
        port: &mut Port<'_, L>,
        encoder: &mut Encoder<'_>,
        len: usize,
        label: u16,
        replay: Option<&mut Replay<'_>>,
    ) -> Result<(), Stop> {
        let start = port.line.count();
        let input = self.input.get(..len).unwrap_or_default();
        let run = encoder.begin(Input::Frames(as_i8(input)));
        let mut run = run.map_err(Refused::from)?;
        while run.step() {
            port.between_steps();
        }
        let features = run.finish();
        let mut logits = [0i16; MAX_CLASSES];
        let logits = logits.get_mut(..self.head.n_classes()).unwrap_or_default();
        // A tail of a block changes what the image's own head would see.
        let own = match &self.tail {
            Some(tail) if !tail.block().is_empty() => &[],
            _ => {
                self.head.logits(&features, logits);
                &*logits
            }
        };
        let class = match &self.tail {
            Some(tail) => {
                let done = tail.logits(&features, self.logits);
                done.map_err(Refused::from)?;
                argmax(self.logits).and_then(|class| u16::try_from(class).ok())
            }
            None => first_greatest(own),
        };
        let cost = port.line.count().wrapping_sub(start);
        if let Some(replay) = replay.filter(|_| label != NO_LABEL) {
            let kept = replay.push(&features, label, ANY_LABEL);
            kept.map_err(Refused::from)?;
        }
        let class = class.unwrap_or(NO_LABEL);
        let mut payload = [0; MAX_PAYLOAD];
        let len = Answer::emit(&mut payload, class, cost, own, self.logits);
        let payload = len.and_then(|len| payload.get(..len));
        let payload = payload.ok_or(Refused::new(Reason::Memory))?;
        port.reply(kind::ANSWER, payload)?;
        port.line.heard(class);
        Ok(())
    }
}

/// Hands all parts of a clip to `take`; leaves the last one without a reply.
fn receive<L: Line>(
    port: &mut Port<'_, L>,
    bytes: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Stop> {
    let mut left = bytes;
    while left > 0 {
        port.ready()?;
        if !port.wait()? {
            return Err(Stop::Gone);
        }
        match port.request() {
            // An odd number of bytes would end in the middle of a sample.
            Some(Request::Data(part))
                if !part.is_empty() && part.len() <= left && part.len() % 2 == left % 2 =>
            {
                take(part);
                left -= part.len();
            }
            Some(Request::Data(_)) | None => return Err(Refused::new(Reason::Message).into()),
            Some(_) => {
                port.unread();
                return Err(Stop::Open);
            }
        }
    }
    Ok(())
}

/// Takes the request to learn, and what it needs out of `work`.
fn begin<'m, L: Line>(
    port: &mut Port<'_, L>,
    image: &Image<'_>,
    work: &mut Workspace<'m>,
    labels: &'m mut [u16],
) -> Result<(Job, &'m [u8], Replay<'m>), Refused> {
    let Some(Request::Learn(job, added)) = port.request() else {
        return Err(Refused::new(Reason::Message));
    };
    if job.recipe.method.below_the_block() {
        return Err(Refused::new(Reason::Method));
    }
    let (needed, found) = (job.train, labels.len() as u32);
    if needed > found || needed == 0 {
        return Err(Refused::sizes(Reason::Shots, needed, found));
    }
    let d = usize::from(image.config().d_model);
    let kept = work.bytes(added.len())?;
    kept.copy_from_slice(added);
    let values = work.bytes(needed as usize * d)?;
    Ok((job, kept, Replay::new(as_i8_mut(values), labels, d)?))
}

/// Length and checksum of a tail; 0 without one.
type TailBytes = [u32; 2];

/// Loads the newest tail of the model that flash holds.
fn newest<'m, F: NorFlash>(
    image: &Image<'_>,
    store: &mut Store<F>,
    work: &mut Workspace<'m>,
) -> Result<(Option<Tail<'m>>, TailBytes), Refused> {
    let id = image.model_id().0;
    let Ok(saved) = store.locate(&id) else {
        return Ok((None, [0; 2]));
    };
    let bytes = work.bytes(saved.len)?;
    let loaded = store.load(&id, bytes);
    let saved = loaded.map_err(|_| Refused::new(Reason::Store))?;
    let bytes = bytes.get(..saved.len).unwrap_or_default();
    let tail = Tail::parse(bytes).map_err(|_| Refused::new(Reason::Tail))?;
    Ok((Some(tail), [bytes.len() as u32, checksum(bytes)]))
}

/// Returns the image's head, of no more classes than the stack has room for.
fn head<'a>(image: &Image<'a>) -> Result<Head<'a>, Refused> {
    let head = Head::new(image);
    let head = head.map_err(|_| Refused::new(Reason::Encoder))?;
    match head.n_classes() <= MAX_CLASSES {
        true => Ok(head),
        false => Err(Refused::new(Reason::Memory)),
    }
}

/// Returns the int8 values of one input; 0 of a model that reads tokens.
fn input_len(image: &Image<'_>) -> usize {
    let frames = image.config().input.frames();
    frames.map_or(0, |(n_frames, n_features)| n_frames * n_features)
}

fn welcome<L: Line>(
    image: &Image<'_>,
    head: &Head<'_>,
    shots: usize,
    [tail_bytes, tail_crc]: TailBytes,
) -> Welcome {
    let mut front_end = image.front_end();
    // Sound is for a front end that this firmware has room for.
    front_end = front_end.filter(|tables| tables.fft_len() == FFT && tables.mel_bins() <= MEL);
    Welcome {
        model_id: image.model_id().0,
        classes: U16::new(head.n_classes() as u16),
        shots: U16::new(shots.min(usize::from(u16::MAX)) as u16),
        input: U32::new(input_len(image) as u32),
        sample_rate: U32::new(front_end.map_or(0, |tables| tables.sample_rate())),
        unit: L::UNIT,
        tail: u8::from(tail_bytes > 0),
        reserved: [0; 2],
        tail_bytes: U32::new(tail_bytes),
        tail_crc: U32::new(tail_crc),
    }
}

/// Gives every request the same answer, until the host or the line gives up.
fn refuse_all<L: Line>(port: &mut Port<'_, L>, refused: &Refused) -> Result<Next, LineFailed> {
    while port.wait()? {
        let bye = matches!(port.request(), Some(Request::Bye));
        port.refuse(refused)?;
        if bye {
            break;
        }
    }
    Ok(Next::Gone)
}
