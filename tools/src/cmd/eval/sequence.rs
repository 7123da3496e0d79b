//! A model with a decoder on pairs of source and target: greedy in float, greedy and by a beam in int8.

use super::Eval;
use super::on_board::{OnBoard, decode};
use crate::cmd::convert::pairs;
use crate::cmd::terminal::{percent, print, print_json, progress, table};
use crate::cmd::{CommandError, wrong_call};
use crate::data::spread;
use crate::evaluation::sequence::{Question, Tokenizers, count, questions, written};
use crate::float_model::FloatModel;
use crate::import::read_model;
use crate::int8::{Int8Model, Search};
use crate::metrics::sequence::SequenceErrors;
use crate::reference::ModelInput;
use crate::text::Parallel;
use crate::text::section::Sections;
use serde_json::json;
use tailtune::image::ModelConfig;
use tailtune::model::decoder_arena_bytes;

/// One way of decoding, and what came of it.
struct Column {
    name: String,
    errors: SequenceErrors,
}

impl Eval {
    pub(super) fn sequences(&self) -> Result<(), CommandError> {
        if self.html.is_some() {
            return Err(wrong_call(
                "pairs are printed, and not written as a page: leave --html out",
            ));
        }
        let (float, int8) = self.models()?;
        let config = match (&float, &int8) {
            (Some(float), _) => float.config,
            (None, Some(int8)) => int8.config(),
            (None, None) => return Err("there is no model to evaluate".into()),
        };
        self.check(&config)?;
        let subject = self.subject.is_dir().then_some(&self.subject);
        let dir = self
            .tokenizer
            .as_ref()
            .or(self.reference.as_ref())
            .or(subject);
        let dir = dir.ok_or("the image reads and writes tokens: give the directory of its tokenizer.json and target_tokenizer.json with --tokenizer")?;
        let tokenizers = Tokenizers::read(dir)?;
        let pairs = Parallel::read(std::slice::from_ref(&self.data))?;
        let questions = questions(&pairs, &tokenizers, &config)?;
        let input = |q: &Question| ModelInput::Tokens(q.input.clone(), Vec::new());
        let inputs: Vec<ModelInput> = questions.iter().map(input).collect();
        let (mut columns, mut on_board) = (Vec::new(), None);
        if let Some(model) = &float {
            let bar = progress("float, greedy, sources", questions.len());
            let written = written(model, &questions, &|| bar.inc(1));
            bar.finish_and_clear();
            columns.push(Column::new("float, greedy", &written, &questions));
        }
        for search in int8.iter().flat_map(|_| self.searches()) {
            let Some(int8) = &int8 else { continue };
            let name = match search {
                Search::Greedy => "int8, greedy".to_owned(),
                Search::Beam { width, .. } => format!("int8, beam of {width}"),
            };
            let bar = progress(&format!("{name}, sources"), questions.len());
            let written = int8.generate(&inputs, search, &|| bar.inc(1))?;
            bar.finish_and_clear();
            columns.push(Column::new(&name, &written, &questions));
            if let (Some(board), Search::Greedy) = (&self.board, search) {
                let most = self.on_board as usize;
                let few: Vec<ModelInput> = spread(&inputs, most).cloned().collect();
                let want: Vec<Vec<u32>> = spread(&written, most).cloned().collect();
                on_board = Some(decode(board, int8, &few, &want)?);
            }
        }
        if self.board.is_some() && on_board.is_none() {
            return Err(wrong_call(
                "the emulated board runs an image: give one, or --calibrate DATA with a model directory",
            ));
        }
        let truncated = questions.iter().filter(|q| q.truncated).count();
        match self.json {
            true => as_json(&columns, truncated, on_board),
            false => {
                as_text(&columns, truncated)?;
                on_board.map_or(Ok(()), |on_board| board_text(&on_board, &config))
            }
        }
    }

    fn searches(&self) -> Vec<Search> {
        let beam = self.beam.map(|width| Search::Beam {
            width,
            length_penalty: self.length_penalty,
        });
        [Search::Greedy].into_iter().chain(beam).collect()
    }

    /// Returns the float model of a directory, and the int8 one of an image or of a directory that is
    /// calibrated.
    fn models(&self) -> Result<(Option<FloatModel>, Option<Int8Model>), CommandError> {
        if !self.subject.is_dir() {
            let float = self
                .reference
                .as_ref()
                .map(|dir| read_model(dir))
                .transpose()?;
            return Ok((float, Some(Int8Model::read(&self.subject)?)));
        }
        let model = read_model(&self.subject)?;
        self.check(&model.config)?;
        let int8 = match &self.calibrate {
            None => None,
            Some(data) => {
                let questions = pairs::read(&self.subject, data, &model)?;
                Some(pairs::quantized(&model, &questions, "none", &Sections::default())?.0)
            }
        };
        Ok((Some(model), int8))
    }

    fn check(&self, config: &ModelConfig) -> Result<(), CommandError> {
        let reads_tokens = config.has_encoder() && config.input.frames().is_none();
        if config.decoder.is_some() && reads_tokens {
            return Ok(());
        }
        let subject = self.subject.display();
        Err(format!(
            "{subject}: it has no encoder of tokens with a decoder; give labelled data, or text to a pretrained text model"
        )
        .into())
    }
}

impl Column {
    fn new(name: &str, written: &[Vec<u32>], questions: &[Question]) -> Self {
        Self {
            name: name.to_owned(),
            errors: count(written, questions),
        }
    }

    fn json(&self) -> serde_json::Value {
        let e = &self.errors;
        json!({
            "name": self.name, "n": e.n, "wrong": e.wrong, "edits": e.edits, "tokens": e.tokens,
            "sequence_error_rate": e.sequence_error_rate(), "token_error_rate": e.token_error_rate(),
        })
    }
}

fn as_json(
    columns: &[Column],
    truncated: usize,
    on_board: Option<OnBoard>,
) -> Result<(), CommandError> {
    let mut value = columns.last().map_or(json!({}), Column::json);
    value["truncated"] = truncated.into();
    value["on_board"] = serde_json::to_value(on_board)?;
    value["columns"] = columns.iter().map(Column::json).collect();
    print_json(&value)
}

fn as_text(columns: &[Column], truncated: usize) -> Result<(), CommandError> {
    let mut rows = table(&[
        "decoded by",
        "sources",
        "wrong",
        "sequence error rate",
        "edits",
        "of tokens",
        "token error rate",
    ]);
    for column in columns {
        let e = &column.errors;
        rows.add_row([
            column.name.clone(),
            e.n.to_string(),
            e.wrong.to_string(),
            percent(e.sequence_error_rate()),
            e.edits.to_string(),
            e.tokens.to_string(),
            percent(e.token_error_rate()),
        ]);
    }
    print(&rows.to_string())?;
    print(
        "wrong: equal to no right target; edits: from what was written to the nearest right target",
    )?;
    match truncated {
        0 => Ok(()),
        n => print(&format!(
            "{n} sources are longer than the model reads: it saw their beginnings"
        )),
    }
}

fn board_text(on_board: &OnBoard, config: &ModelConfig) -> Result<(), CommandError> {
    print(&format!(
        "{}: {} of {} outputs are the host's; arena {} bytes",
        on_board.board,
        on_board.equal,
        on_board.n,
        decoder_arena_bytes(config, 1)
    ))?;
    let Some([encoder, decoder]) = on_board.instructions else {
        return Ok(());
    };
    print(&format!(
        "instructions a source: encoder {} on the mean, {} at most; decoder {}, {}",
        encoder.mean, encoder.most, decoder.mean, decoder.most
    ))
}
