//! An image on an emulated board: what it answers is held to what the host's runtime answers, bit by bit.

use crate::board::Board;
use crate::cmd::on_board::run_bytes;
use crate::cmd::{CommandError, wrong_call};
use crate::emulator::{Emulator, JobRequest, JobSample, decode_results, infer_results};
use crate::int8::{Int8Input, Int8Model};
use crate::reference::ModelInput;
use serde::Serialize;
use tailtune::tune::{MethodId, Recipe};
use tailtune_app::job::Kind;

/// What an emulated board did.
#[derive(Debug, Clone, Serialize)]
pub struct OnBoard {
    /// Its name.
    pub board: String,
    /// Inputs that it was given.
    pub n: usize,
    /// Of them, those that it answered as the host does.
    pub equal: usize,
    /// Instructions an input, on the mean and at most, of encoder and decoder; none where they were not
    /// counted.
    pub instructions: Option<[Cost; 2]>,
}

/// What one part takes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// On the mean.
    pub mean: u64,
    /// At most.
    pub most: u32,
}

impl Cost {
    fn of(counts: impl Iterator<Item = u32> + Clone) -> Self {
        let n = counts.clone().count().max(1) as u64;
        Self {
            mean: counts.clone().map(u64::from).sum::<u64>() / n,
            most: counts.max().unwrap_or(0),
        }
    }
}

fn run(
    board: &Board,
    int8: &Int8Model,
    inputs: &[ModelInput],
    kind: Kind,
) -> Result<Vec<u8>, CommandError> {
    let config = int8.config();
    let sample = |input| match input {
        Int8Input::Frames(values) => JobSample { label: 0, values },
        Int8Input::Tokens(ids, segments) => JobSample::tokens(0, &ids, &segments, &config),
    };
    let test: Vec<JobSample> = int8.prepare(inputs)?.into_iter().map(sample).collect();
    if int8.bytes().len() > board.regions.model.bytes as usize {
        return Err(wrong_call(format!(
            "the image has {} bytes, board {} has room for {}: choose another board, or a smaller model",
            int8.bytes().len(),
            board.name,
            board.regions.model.bytes
        )));
    }
    eprintln!("building the firmware of {}", board.name);
    let emulator = Emulator::build(board)?;
    let request = JobRequest {
        kind,
        added: &[],
        train: &[],
        test: &test,
        recipe: Recipe::new(MethodId::Softmax),
    };
    run_bytes(&emulator, tempfile::tempdir()?.path(), int8, &request)
}

/// Decodes on the board what `written` is on the host.
pub fn decode(
    board: &Board,
    int8: &Int8Model,
    inputs: &[ModelInput],
    written: &[Vec<u32>],
) -> Result<OnBoard, CommandError> {
    let bytes = run(board, int8, inputs, Kind::Decode)?;
    let results = decode_results(&bytes, inputs.len())?;
    let pairs = results.iter().zip(written);
    Ok(OnBoard {
        board: board.name.clone(),
        n: results.len(),
        equal: pairs.filter(|(found, want)| found.tokens == **want).count(),
        instructions: Some([
            Cost::of(results.iter().map(|r| r.encoder)),
            Cost::of(results.iter().map(|r| r.decoder)),
        ]),
    })
}

/// Runs inputs on the board: its logits against the host's.
pub fn classify(
    board: &Board,
    int8: &Int8Model,
    inputs: &[ModelInput],
) -> Result<OnBoard, CommandError> {
    let want = int8.run(&int8.prepare(inputs)?, &|| ())?;
    let bytes = run(board, int8, inputs, Kind::Infer)?;
    let results = infer_results(&bytes, &int8.image())?;
    let equal = results
        .iter()
        .zip(&want)
        .filter(|(found, want)| found.whole == want.logits && found.steps == want.logits);
    Ok(OnBoard {
        board: board.name.clone(),
        n: results.len(),
        equal: equal.count(),
        instructions: None,
    })
}
