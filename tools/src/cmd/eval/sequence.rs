//! A model with a decoder on pairs of source and target, decoded greedily in float.

use super::Eval;
use crate::cmd::terminal::{percent, print, print_json, progress};
use crate::cmd::{CommandError, wrong_call};
use crate::evaluation::sequence::{Tokenizers, evaluate, questions};
use crate::import::read_model;
use crate::text::Parallel;
use serde_json::json;

impl Eval {
    pub(super) fn sequences(&self) -> Result<(), CommandError> {
        if self.html.is_some() || self.calibrate.is_some() || !self.subject.is_dir() {
            return Err(wrong_call(
                "pairs are evaluated on a model directory in float: give MODEL_DIR, without --calibrate and --html",
            ));
        }
        let model = read_model(&self.subject)?;
        let reads_tokens = model.config.has_encoder() && model.config.input.frames().is_none();
        if model.decoder.is_none() || !reads_tokens {
            let subject = self.subject.display();
            return Err(format!(
                "{subject}: it has no encoder of tokens with a decoder; give labelled data, or text to a pretrained text model"
            )
            .into());
        }
        let tokenizers = Tokenizers::read(&self.subject)?;
        let pairs = Parallel::read(std::slice::from_ref(&self.data))?;
        let questions = questions(&pairs, &tokenizers, &model.config)?;
        let bar = progress("greedy decoding, sources", questions.len());
        let errors = evaluate(&model, &questions, &|| bar.inc(1));
        bar.finish_and_clear();
        let truncated = questions.iter().filter(|q| q.truncated).count();
        let rates = (errors.sequence_error_rate(), errors.token_error_rate());
        if self.json {
            return print_json(&json!({
                "n": errors.n, "wrong": errors.wrong, "edits": errors.edits,
                "tokens": errors.tokens, "sequence_error_rate": rates.0,
                "token_error_rate": rates.1, "truncated": truncated,
            }));
        }
        let lines = [
            format!("sources               {}", errors.n),
            format!(
                "sequence error rate   {} ({} equal no right target)",
                percent(rates.0),
                errors.wrong
            ),
            format!(
                "token error rate      {} ({} edits from {} tokens of the nearest right targets)",
                percent(rates.1),
                errors.edits,
                errors.tokens
            ),
        ];
        print(&lines.join("\n"))?;
        match truncated {
            0 => Ok(()),
            n => print(&format!(
                "{n} sources are longer than the model reads: it saw their beginnings"
            )),
        }
    }
}
