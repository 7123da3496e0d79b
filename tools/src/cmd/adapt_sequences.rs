//! `tailtune adapt` of an image with a decoder: pairs of a source and a target, learned by teacher forcing.

use super::fit_args::plan_json;
use super::terminal::{percent, print, print_json, progress, table};
use super::{CommandError, wrong_call};
use crate::adapt::sequences::{AddedToken, SequencePair, adapt_sequences};
use crate::adapt::tuning::Plan;
use crate::int8::Int8Model;
use crate::metrics::sequence::SequenceErrors;
use crate::reference::ModelInput;
use crate::text::{Entry, Parallel};
use crate::text::{tokenizer, word_level};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use tokenizers::Tokenizer;

/// One sample in so many of each class is held back for the guard, where nothing else is said.
const HOLD_BACK: u32 = 10;

/// The call.
pub(super) struct AdaptSequences<'c> {
    pub data: &'c Path,
    pub rehearse: Option<&'c Path>,
    pub test: Option<&'c Path>,
    pub tokenizer: &'c Path,
    pub add_token: &'c [String],
    pub tail: Option<&'c Path>,
    pub seed: u32,
    pub json: bool,
}

/// The tokenizers of a model, and what is added to the target's.
struct Vocabulary {
    source: Tokenizer,
    target: Tokenizer,
    vocab_size: u32,
    seq_len: usize,
    added: Vec<AddedToken>,
}

impl Vocabulary {
    fn read(dir: &Path, int8: &Int8Model, add: &[String]) -> Result<Self, CommandError> {
        let config = int8.config();
        let vocab_size = config.decoder.map_or(0, |d| d.vocab_size);
        if !config.has_encoder() {
            return Err(wrong_call(
                "the image is a decoder only, which reads no source: pairs cannot be learned",
            ));
        }
        let mut all = Self {
            source: tokenizer::read(dir)?,
            target: word_level::read_target(dir)?,
            vocab_size,
            seq_len: config.max_input_len(),
            added: Vec::new(),
        };
        let found = all.target.get_vocab_size(true);
        if found != vocab_size as usize {
            return Err(format!(
                "{}: {} has {found} pieces, the image's decoder {vocab_size}: give the directory that the image \
                 was converted from",
                dir.display(),
                word_level::TARGET_FILE
            )
            .into());
        }
        for pair in add {
            let split = pair.split_once('=').filter(|(piece, _)| !piece.is_empty());
            let (piece, known) = split
                .ok_or_else(|| wrong_call(format!("--add-token {pair}: expected PIECE=KNOWN")))?;
            let fed_as = all.target.token_to_id(known).ok_or_else(|| {
                wrong_call(format!(
                    "--add-token {pair}: {known:?} is no piece of the target's vocabulary"
                ))
            })?;
            if all.id(piece).is_some() {
                return Err(wrong_call(format!(
                    "--add-token {pair}: {piece:?} is there already"
                )));
            }
            all.added.push(AddedToken {
                piece: piece.to_owned(),
                fed_as,
            });
        }
        Ok(all)
    }

    /// Returns the id of a target's piece.
    fn id(&self, piece: &str) -> Option<u32> {
        let added = self.added.iter().position(|token| token.piece == piece);
        let added = added.map(|index| self.vocab_size + index as u32);
        added.or_else(|| self.target.token_to_id(piece))
    }

    /// Returns an entry as the model takes it.
    fn pair(&self, path: &Path, entry: &Entry) -> Result<SequencePair, CommandError> {
        let ids = word_level::source_ids(&self.source, &entry.source, self.seq_len)?;
        let piece = |piece: &str| {
            self.id(piece).ok_or_else(|| {
                format!(
                    "{}: {:?} has the target piece {piece:?}, which the vocabulary does not have; add it by \
                     --add-token {piece}=KNOWN",
                    path.display(),
                    entry.source
                )
            })
        };
        let target = |target: &String| target.split_whitespace().map(piece).collect();
        let right: Result<Vec<Vec<u32>>, String> = entry.targets.iter().map(target).collect();
        Ok(SequencePair {
            input: ModelInput::Tokens(ids, Vec::new()),
            right: right?,
        })
    }

    fn pairs(&self, path: &Path) -> Result<(Vec<String>, Vec<SequencePair>), CommandError> {
        let parallel = Parallel::read(&[path.to_path_buf()])?;
        let entries = parallel.entries();
        let pairs = entries.iter().map(|entry| self.pair(path, entry));
        let pairs = pairs.collect::<Result<_, _>>()?;
        Ok((entries.iter().map(|e| e.source.clone()).collect(), pairs))
    }
}

impl AdaptSequences<'_> {
    pub fn run(&self, int8: &Int8Model, mut plan: Plan) -> Result<(), CommandError> {
        if plan.keep_old.is_some() {
            return Err(wrong_call(
                "--keep-old is not for decoders: give what should be kept by --rehearse",
            ));
        }
        if plan.schedule.hold_back == 0 {
            plan.schedule.hold_back = HOLD_BACK;
        }
        let vocabulary = Vocabulary::read(self.tokenizer, int8, self.add_token)?;
        let (sources, learned) = vocabulary.pairs(self.data)?;
        let known: HashSet<&str> = sources.iter().map(String::as_str).collect();
        let others = |path: Option<&Path>| -> Result<Vec<SequencePair>, CommandError> {
            let Some(path) = path else {
                return Ok(Vec::new());
            };
            let (sources, pairs) = vocabulary.pairs(path)?;
            let pairs = sources.iter().zip(pairs);
            let pairs = pairs.filter(|(source, _)| !known.contains(source.as_str()));
            Ok(pairs.map(|(_, pair)| pair).collect())
        };
        let (rehearsed, test) = (others(self.rehearse)?, others(self.test)?);
        let bar = progress("int8, sequences", 2 * (learned.len() + test.len()));
        let done = || bar.inc(1);
        let adapted = adapt_sequences(
            int8,
            [&learned, &rehearsed],
            &test,
            &vocabulary.added,
            &plan,
            &done,
        )?;
        bar.finish_and_clear();
        if let Some(path) = self.tail {
            crate::output::write_whole(path, &adapted.tail)?;
        }
        let crc = tailtune::store::record::checksum(&adapted.tail);
        let report = &adapted.report;
        if self.json {
            return print_json(&json!({
                "learned": rates(&adapted.learned),
                "test": adapted.test.as_ref().map(rates),
                "steps": report.steps,
                "positions": adapted.positions,
                "tail_bytes": adapted.tail.len(),
                "tail_crc32": format!("{crc:08x}"),
                "method": plan.method.name(),
                "fit": plan_json(&plan),
                "rolled_back": report.rolled_back(),
                "seed": self.seed,
            }));
        }
        let mut rows = table(&["pairs", "n", "sequence errors", "", "token errors", ""]);
        let all = [
            ("learned", Some(adapted.learned)),
            ("held out", adapted.test),
        ];
        for (name, errors) in all {
            let Some([before, after]) = errors else {
                continue;
            };
            rows.add_row(vec![
                name.to_owned(),
                before.n.to_string(),
                percent(before.sequence_error_rate()),
                format!("→ {}", percent(after.sequence_error_rate())),
                percent(before.token_error_rate()),
                format!("→ {}", percent(after.token_error_rate())),
            ]);
        }
        print(&rows.to_string())?;
        print(&format!(
            "steps             {} ({} epochs over {} positions; loss {:.4} → {:.4})",
            report.steps, report.epochs, adapted.positions, report.first_loss, report.last_loss
        ))?;
        if report.rolled_back() {
            print("guard             the positions held back say that it is worse: rolled back")?;
        }
        print(&format!(
            "tail              {} bytes, CRC-32 {crc:08x}",
            adapted.tail.len()
        ))
    }
}

fn rates([before, after]: &[SequenceErrors; 2]) -> Value {
    json!({
        "n": before.n,
        "sequence_error_rate": [before.sequence_error_rate(), after.sequence_error_rate()],
        "token_error_rate": [before.token_error_rate(), after.token_error_rate()],
    })
}
