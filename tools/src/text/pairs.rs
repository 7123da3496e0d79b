//! Pairs of sentences with hidden pieces, for the masked language model and next-sentence prediction
//! (Devlin et al., "BERT", arXiv 1810.04805, §3.1): 15 % of the pieces are chosen; of these 80 % become
//! `[MASK]`, 10 % another piece, 10 % stay; of the pairs half follow each other in the text.

use super::tokenizer::{SPECIAL, ids};
use super::word_level::source_ids;
use super::{Corpus, TextError};
use crate::synthetic::Random;
use tailtune::image::ModelConfig;
use tokenizers::Tokenizer;

const CLS: u32 = 2;
const SEP: u32 = 3;
const MASK: u32 = 4;

/// What the model reads.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The most pieces of a pair, special ones counted.
    pub seq_len: usize,
    /// Entries of the tokenizer.
    pub vocab_size: u32,
}

/// One pair with hidden pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// What the model sees.
    pub ids: Vec<u32>,
    /// 0 for the first sentence, 1 for the second.
    pub segments: Vec<u8>,
    /// Where pieces were chosen, and what they were.
    pub chosen: Vec<(usize, u32)>,
    /// Whether the second sentence does not follow the first in the text.
    pub not_next: bool,
}

/// A sentence by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    document: usize,
    sentence: usize,
}

/// Tokenized documents and what is read of them.
pub struct Text {
    documents: Vec<Vec<Vec<u32>>>,
    /// Sentences that another follows; of single sentences all.
    pairs: Vec<Place>,
    /// Whether sentences are read one by one, with their special pieces already.
    single: bool,
}

impl Text {
    /// Tokenizes a corpus.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn new(corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let mut documents = Vec::new();
        for document in corpus.documents() {
            let tokens = document.iter().map(|s| ids(tokenizer, s));
            documents.push(tokens.collect::<Result<Vec<_>, _>>()?);
        }
        let places = |(document, d): (usize, &Vec<Vec<u32>>)| {
            (1..d.len()).map(move |i| Place {
                document,
                sentence: i - 1,
            })
        };
        let pairs = documents.iter().enumerate().flat_map(places).collect();
        Ok(Self {
            documents,
            pairs,
            single: false,
        })
    }

    /// Takes the sentences of a corpus one by one, for a model of this architecture: with the special
    /// pieces that the tokenizer adds, or as `[CLS] a [SEP]` where it adds none.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn single(
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        config: &ModelConfig,
    ) -> Result<Self, TextError> {
        let seq_len = config.max_input_len();
        let one = |sentence: &str| match tokenizer.get_post_processor() {
            Some(_) => source_ids(tokenizer, sentence, seq_len),
            None => Ok(joined([CLS, SEP], &ids(tokenizer, sentence)?, None, seq_len).0),
        };
        let sentences = corpus.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let place = |sentence| Place {
            document: 0,
            sentence,
        };
        Ok(Self {
            pairs: (0..sentences.len()).map(place).collect(),
            documents: vec![sentences],
            single: true,
        })
    }

    /// Returns how many pairs or single sentences there are: sentences that another follows, or all.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Makes `[CLS] a [SEP] b [SEP]` of the pair at `place` and hides some of its pieces: `b` is the
    /// next sentence or, as often, any other. A single sentence has no segments.
    pub fn sequence(&self, place: usize, shape: Shape, r: &mut Random) -> Sequence {
        if self.single {
            let Place { document, sentence } = self.pairs[place];
            let mut ids = self.documents[document][sentence].clone();
            let chosen = mask(&mut ids, shape.vocab_size, r);
            return Sequence {
                ids,
                segments: Vec::new(),
                chosen,
                not_next: false,
            };
        }
        let (a, b, not_next) = self.pair(self.pairs[place], r);
        let (mut tokens, second) = joined([CLS, SEP], a, Some(b), shape.seq_len);
        let segments = (0..tokens.len()).map(|i| u8::from(i >= second)).collect();
        let chosen = mask(&mut tokens, shape.vocab_size, r);
        Sequence {
            ids: tokens,
            segments,
            chosen,
            not_next,
        }
    }

    /// Returns a pair and whether the second sentence is not the next one.
    fn pair(&self, place: Place, r: &mut Random) -> (&[u32], &[u32], bool) {
        let document = &self.documents[place.document];
        let first = &document[place.sentence];
        let next = Place {
            sentence: place.sentence + 1,
            ..place
        };
        if r.below(2) == 0 {
            return (first, &document[next.sentence], false);
        }
        loop {
            let document = r.below(self.documents.len() as u32) as usize;
            let sentence = r.below(self.documents[document].len() as u32) as usize;
            let other = Place { document, sentence };
            if other != next {
                return (first, &self.documents[document][sentence], true);
            }
        }
    }
}

/// Returns `[CLS] a [SEP]`, with a second text `[CLS] a [SEP] b [SEP]`, and where the second begins; the
/// longer text gives way until all fits in `seq_len`.
pub(super) fn joined(
    [cls, sep]: [u32; 2],
    a: &[u32],
    b: Option<&[u32]>,
    seq_len: usize,
) -> (Vec<u32>, usize) {
    let room = seq_len.saturating_sub(2 + usize::from(b.is_some()));
    let (mut n, mut m) = (a.len(), b.map_or(0, <[u32]>::len));
    while n + m > room {
        if n >= m { n -= 1 } else { m -= 1 }
    }
    let mut tokens = vec![cls];
    tokens.extend(&a[..n]);
    tokens.push(sep);
    let second = tokens.len();
    if let Some(b) = b {
        tokens.extend(&b[..m]);
        tokens.push(sep);
    }
    (tokens, second)
}

/// Chooses 15 % of the pieces, at least one, and hides them; returns where they stood and what they
/// were.
fn mask(tokens: &mut [u32], vocab_size: u32, r: &mut Random) -> Vec<(usize, u32)> {
    let mut places: Vec<usize> = (0..tokens.len())
        .filter(|&i| tokens[i] != CLS && tokens[i] != SEP)
        .collect();
    let n = ((places.len() as f32 * 0.15 + 0.5) as usize).clamp(1.min(places.len()), places.len());
    let mut chosen = Vec::new();
    for _ in 0..n {
        let at = places.swap_remove(r.below(places.len() as u32) as usize);
        chosen.push((at, tokens[at]));
        let special = SPECIAL.len() as u32;
        match r.below(10) {
            0..8 => tokens[at] = MASK,
            8 => tokens[at] = special + r.below(vocab_size.saturating_sub(special).max(1)),
            _ => {}
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_of_ten_chosen_pieces_are_masked_one_is_another_one_stays() {
        let (mut masked, mut other, mut same, mut all) = (0, 0, 0, 0);
        for seed in 0..400 {
            let before: Vec<u32> = (0..60).map(|i| 5 + i).collect();
            let mut tokens = before.clone();
            let chosen = mask(&mut tokens, 1000, &mut Random::new(seed));
            assert_eq!(chosen.len(), 9);
            all += chosen.len();
            for (at, was) in chosen {
                assert_eq!(before[at], was);
                match tokens[at] {
                    MASK => masked += 1,
                    id if id == was => same += 1,
                    _ => other += 1,
                }
            }
        }
        let share = |n: i32| f64::from(n) / all as f64;
        assert!((share(masked) - 0.8).abs() < 0.02, "{}", share(masked));
        assert!((share(other) - 0.1).abs() < 0.02 && (share(same) - 0.1).abs() < 0.02);
    }

    #[test]
    fn special_pieces_are_never_chosen() {
        let mut tokens = [CLS, 9, SEP, 8, SEP];
        let chosen = mask(&mut tokens, 100, &mut Random::new(1));
        assert!(chosen.iter().all(|(at, _)| [1, 3].contains(at)) && chosen.len() == 1);
        assert!(mask(&mut [CLS, SEP, SEP], 100, &mut Random::new(1)).is_empty());
    }
}
