//! `tailtune synthesize`: spoken words to pretrain on, by espeak-ng in many voices.

use super::CommandError;
use super::terminal::{print, progress};
use crate::synthetic::Random;
use clap::Args;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Speak words with espeak-ng, in many voices, pitches and speeds: one folder a word and language
///
/// Noise, rooms and shifts are added when a model is trained, not here.
#[derive(Debug, Args)]
pub struct Synthesize {
    /// The words: a text file with lines `LANGUAGE WORD`, such as `en-us house` or `de Haus`
    #[arg(long, value_name = "FILE")]
    words: PathBuf,
    /// Clips of each word
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    clips: u32,
    /// Decides voices, pitches and speeds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to write; clips that are already there are kept
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Voice variants of espeak-ng: men, women, and some that sound like other people.
const VARIANTS: [&str; 36] = [
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Andy", "Mario",
    "linda", "Alex", "Annie", "belinda", "Gene", "Hugo", "pablo", "steph", "steph2", "rob",
    "Michael", "klatt", "klatt2", "klatt3", "klatt4", "Lee", "Jacky", "paul", "caleb", "anika",
    "victor",
];

/// One clip to speak.
struct Clip {
    word: String,
    voice: String,
    /// Words a minute.
    speed: u32,
    /// 0 to 99.
    pitch: u32,
    path: PathBuf,
}

impl Synthesize {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let text = std::fs::read_to_string(&self.words)
            .map_err(|e| format!("{}: {e}", self.words.display()))?;
        let words = parse(&text).map_err(|e| format!("{}: {e}", self.words.display()))?;
        let clips = plan(&words, self.clips, self.seed, &self.output);
        for (language, word) in &words {
            std::fs::create_dir_all(self.output.join(class(language, word)))?;
        }
        let bar = progress("speaking, clips", clips.len());
        let speak = |clip: &Clip| {
            let result = clip.speak();
            bar.inc(1);
            result
        };
        clips
            .par_iter()
            .map(speak)
            .collect::<Result<(), CommandError>>()?;
        bar.finish_and_clear();
        print(&format!(
            "{}: {} clips of {} words",
            self.output.display(),
            clips.len(),
            words.len()
        ))
    }
}

/// Splits lines `LANGUAGE WORD`; empty lines and lines that start with # are passed over.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (language, word) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("line {number}: {line:?}, expected LANGUAGE WORD"))?;
        words.push((language.to_owned(), word.trim().to_owned()));
    }
    if words.is_empty() {
        Err("no words; expected lines LANGUAGE WORD".into())
    } else {
        Ok(words)
    }
}

/// Returns the class of a word: the same letters in another language are another word, in another
/// accent of the same language they are not.
fn class(language: &str, word: &str) -> String {
    let language = language.split('-').next().unwrap_or(language);
    format!("{word} ({language})").replace('/', "-")
}

fn plan(words: &[(String, String)], clips: u32, seed: u64, output: &Path) -> Vec<Clip> {
    let r = &mut Random::new(seed);
    let mut plan = Vec::new();
    for (language, word) in words {
        for i in 0..clips {
            let variant = VARIANTS[r.below(VARIANTS.len() as u32) as usize];
            plan.push(Clip {
                word: word.clone(),
                voice: format!("{language}+{variant}"),
                speed: 110 + r.below(110),
                pitch: 15 + r.below(75),
                path: output
                    .join(class(language, word))
                    .join(format!("{language}-{i:04}.wav")),
            });
        }
    }
    plan
}

impl Clip {
    fn speak(&self) -> Result<(), CommandError> {
        if self.path.exists() {
            return Ok(());
        }
        // A clip that was cut off must not be taken for a whole one.
        let part = self.path.with_extension("part");
        let output = Command::new("espeak-ng")
            .args([
                "-v",
                &self.voice,
                "-s",
                &self.speed.to_string(),
                "-p",
                &self.pitch.to_string(),
            ])
            .arg("-w")
            .arg(&part)
            .arg("--")
            .arg(&self.word)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| {
                format!("espeak-ng cannot be started: {e}; install it: apt-get install espeak-ng")
            })?;
        if !output.status.success() || !part.exists() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let voice = &self.voice;
            return Err(format!("espeak-ng does not speak {:?} as {voice}: {said}; `espeak-ng --voices` lists languages", self.word).into());
        }
        std::fs::rename(&part, &self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lines_of_language_and_word() {
        let words = parse("# a comment\n\nen-us zoom in\nde Straße\n").unwrap();
        assert_eq!(words[0], ("en-us".to_owned(), "zoom in".to_owned()));
        assert_eq!(class(&words[1].0, &words[1].1), "Straße (de)");
        assert!(parse("house\n").unwrap_err().contains("line 1"));
        assert!(parse("\n").unwrap_err().contains("no words"));
    }

    #[test]
    fn the_seed_decides_the_voices() {
        let words = vec![("en-us".to_owned(), "yes".to_owned())];
        let key = |seed| -> Vec<_> {
            let clips = plan(&words, 20, seed, Path::new("out"));
            clips
                .into_iter()
                .map(|c| (c.voice, c.speed, c.pitch))
                .collect()
        };
        assert_eq!(key(3), key(3));
        assert_ne!(key(3), key(4));
    }
}
