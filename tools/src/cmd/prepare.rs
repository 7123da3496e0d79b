//! `tailtune prepare`: data as others publish it, in the form that `tailtune pretrain` reads.

use super::CommandError;
use super::terminal::{print, table};
use crate::export::write_whole;
use crate::text::cmudict::{self, Words};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Write published data in the form that pretrain, finetune and eval read
#[derive(Debug, Args)]
pub struct Prepare {
    #[command(subcommand)]
    data: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    Cmudict(Cmudict),
}

/// The CMU Pronouncing Dictionary: words and phonemes without stress
///
/// Writes train.tsv, valid.tsv and test.tsv (90, 5 and 5 %, by a hash of the word) of lines WORD, a tab, and
/// phonemes separated by spaces; and words.txt, the words of train.tsv, to pretrain an encoder on.
#[derive(Debug, Args)]
struct Cmudict {
    /// The dictionary, cmudict.dict
    file: PathBuf,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl Prepare {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self.data {
            Data::Cmudict(c) => c.run(),
        }
    }
}

impl Cmudict {
    fn run(self) -> Result<(), CommandError> {
        let file = self.file.display();
        let text = std::fs::read(&self.file).map_err(|e| format!("{file}: {e}"))?;
        // Version 0.7b is Latin-1: a few names, which are left out anyway.
        let text = String::from_utf8_lossy(&text);
        let parts = cmudict::parse(&text).map_err(|e| format!("{file}: {e}"))?;
        let mut rows = table(&["file", "words", "pronunciations"]);
        let sides = [
            ("train.tsv", &parts.train),
            ("valid.tsv", &parts.valid),
            ("test.tsv", &parts.test),
        ];
        for (name, words) in sides {
            write_whole(&self.output.join(name), cmudict::lines(words).as_bytes())?;
            let pronunciations: usize = words.values().map(Vec::len).sum();
            rows.add_row([
                name.to_owned(),
                words.len().to_string(),
                pronunciations.to_string(),
            ]);
        }
        self.words(&parts.train)?;
        print(&rows.to_string())
    }

    fn words(&self, train: &Words) -> Result<(), CommandError> {
        let path = self.output.join("words.txt");
        Ok(write_whole(&path, cmudict::shuffled(train).as_bytes())?)
    }
}
