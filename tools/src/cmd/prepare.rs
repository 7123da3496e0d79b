//! `tailtune prepare`: data as others publish it, in the form that `tailtune pretrain` reads.

use super::CommandError;
use super::terminal::{print, progress, table};
use crate::export::write_whole;
use crate::text::cmudict::{self, Words};
use crate::text::documents::Documents;
use crate::text::snips;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Write published data in the form that pretrain, finetune and eval read
#[derive(Debug, Args)]
pub struct Prepare {
    #[command(subcommand)]
    data: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    Cmudict(Cmudict),
    Documents(DocumentsArgs),
    Snips(Snips),
}

/// Folders of HTML pages: documents of sentences, to pretrain on
///
/// Writes one sentence a line and an empty line between pages: the text of paragraphs and list items.
/// What repeats from page to page is kept once.
#[derive(Debug, Args)]
struct DocumentsArgs {
    /// Folders with .html pages, and pages
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// The Snips benchmark: utterances with their intents
///
/// Writes train.csv and valid.csv with the columns text,label.
#[derive(Debug, Args)]
struct Snips {
    /// The folder 2017-06-custom-intent-engines: one sub-folder an intent
    folder: PathBuf,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
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
            Data::Documents(c) => c.run(),
            Data::Snips(c) => c.run(),
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

impl DocumentsArgs {
    fn run(self) -> Result<(), CommandError> {
        let mut pages = Vec::new();
        for folder in &self.folders {
            find_pages(folder, &mut pages)?;
        }
        pages.sort();
        let bar = progress("reading, pages", pages.len());
        let mut documents = Documents::default();
        for page in &pages {
            let html = std::fs::read(page).map_err(|e| format!("{}: {e}", page.display()))?;
            documents.add(&String::from_utf8_lossy(&html));
            bar.inc(1);
        }
        bar.finish_and_clear();
        if documents.documents == 0 {
            let folders: Vec<String> = self
                .folders
                .iter()
                .map(|f| f.display().to_string())
                .collect();
            let folders = folders.join(", ");
            return Err(format!("{folders}: no sentences in {} .html pages", pages.len()).into());
        }
        write_whole(&self.output, documents.text().as_bytes())?;
        print(&format!(
            "{}: {} documents, {} sentences, of {} pages",
            self.output.display(),
            documents.documents,
            documents.sentences,
            pages.len()
        ))
    }
}

/// Finds the .html files under a path.
fn find_pages(path: &Path, pages: &mut Vec<PathBuf>) -> Result<(), CommandError> {
    let error = |e: std::io::Error| format!("{}: {e}", path.display());
    if !path.is_dir() {
        pages.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        // Links would show a page twice, and may lead out of the folder.
        let kind = entry.file_type().map_err(error)?;
        if kind.is_dir() || (kind.is_file() && path.extension().is_some_and(|e| e == "html")) {
            find_pages(&path, pages)?;
        }
    }
    Ok(())
}

impl Snips {
    fn run(self) -> Result<(), CommandError> {
        let folder = self.folder.display();
        let entries = std::fs::read_dir(&self.folder).map_err(|e| format!("{folder}: {e}"))?;
        let mut intents: Vec<String> = entries
            .filter_map(|e| Some(e.ok()?).filter(|e| e.path().is_dir()))
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        intents.sort();
        let mut rows = table(&["file", "utterances", "intents"]);
        for (file, of) in [
            ("train.csv", |intent: &str| {
                format!("train_{intent}_full.json")
            }),
            ("valid.csv", |intent: &str| {
                format!("validate_{intent}.json")
            }),
        ] as [(&str, fn(&str) -> String); 2]
        {
            let mut all = Vec::new();
            for intent in &intents {
                let path = self.folder.join(intent).join(of(intent));
                let json = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                // Some of the files are Latin-1.
                let parsed = snips::parse(&String::from_utf8_lossy(&json));
                all.extend(parsed.map_err(|e| format!("{}: {e}", path.display()))?);
            }
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(["text", "label"])
                .map_err(|e| e.to_string())?;
            for (text, intent) in &all {
                csv.write_record([text, intent])
                    .map_err(|e| e.to_string())?;
            }
            let bytes = csv.into_inner().map_err(|e| e.to_string())?;
            write_whole(&self.output.join(file), &bytes)?;
            rows.add_row([
                file.to_owned(),
                all.len().to_string(),
                intents.len().to_string(),
            ]);
        }
        print(&rows.to_string())
    }
}
