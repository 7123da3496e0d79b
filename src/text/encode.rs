//! Texts → what a model reads: templates, truncation and padding as the tokenizer's file says.

use super::TextError;
use super::section::TemplateItem;
use super::tokenizer::{Role, Tokenizer};

/// How long an encoded text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Encoded {
    /// Tokens, special ones counted; padding is not.
    pub len: usize,
    /// Tokens with padding.
    pub padded: usize,
    /// Padding that stands before the tokens.
    pub start: usize,
    /// Tokens of the texts that were cut off; 0 where they were not counted because the end of the only
    /// text was cut.
    pub cut: usize,
}

/// The part of a text that is kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    skip: usize,
    take: usize,
}

const ONE_ITEM: TemplateItem = item(1, 0);
const ONE: &[TemplateItem] = &[ONE_ITEM];
const TWO: &[TemplateItem] = &[ONE_ITEM, item(2, 1)];

const fn item(kind: u8, segment: u8) -> TemplateItem {
    TemplateItem {
        kind,
        segment,
        id: zerocopy::little_endian::U16::ZERO,
    }
}

impl Tokenizer<'_> {
    /// Encodes a text or two: with the special tokens of the template if `special`, cut to the length of
    /// `ids` or to what the tokenizer's file says, whichever is less, and padded as it says. `segments`
    /// gets each token's segment; it is as long as `ids`, or empty.
    ///
    /// The end of one text is cut while it is read; where both texts may give way, or the beginning is cut,
    /// they are read twice.
    ///
    /// # Errors
    /// [`TextError`]: a buffer is too small, a word has no token, or nothing is left to truncate.
    pub fn encode(
        &self,
        texts: (&str, Option<&str>),
        special: bool,
        work: &mut [u32],
        ids: &mut [u32],
        segments: &mut [u8],
    ) -> Result<Encoded, TextError> {
        if !segments.is_empty() && segments.len() != ids.len() {
            let (needed, found) = (ids.len(), segments.len());
            return Err(TextError::Segments { needed, found });
        }
        let template = match (self.templates, texts.1) {
            ([[], _], None) => ONE,
            ([_, []], Some(_)) => TWO,
            ([one, _], None) => one,
            ([_, two], Some(_)) => two,
        };
        let n_special = template.iter().filter(|item| item.kind == 0).count();
        let needed = if special { n_special } else { 0 };
        let limit = match self.record.max_length.get() as usize {
            0 => ids.len(),
            n => n.min(ids.len()),
        };
        let room = limit.checked_sub(needed);
        let room = room.ok_or(TextError::CannotTruncate {
            needed,
            room: limit,
        })?;
        let (kept, cut) = self.kept(texts, room, limit, work)?;
        let mut len = 0;
        let mut push = |id: u32, segment: u8| {
            if let Some(slot) = ids.get_mut(len) {
                *slot = id;
            }
            if let Some(slot) = segments.get_mut(len) {
                *slot = segment;
            }
            len += 1;
        };
        for item in template {
            let (text, kept) = match (item.kind, texts.1) {
                (0, _) if special => {
                    push(item.id.get().into(), item.segment);
                    continue;
                }
                (1, _) => (texts.0, kept.0),
                (2, Some(text)) => (text, kept.1),
                _ => continue,
            };
            let tokens = self.tokens(text, work)?;
            for id in tokens.skip(kept.skip).take(kept.take) {
                push(id?, item.segment);
            }
        }
        Ok(self.pad(len, cut, ids, segments))
    }

    /// Returns what is kept of both texts, and how much is not.
    fn kept(
        &self,
        (a, b): (&str, Option<&str>),
        room: usize,
        limit: usize,
        work: &mut [u32],
    ) -> Result<((Kept, Kept), usize), TextError> {
        let left = self.record.truncation & 16 != 0;
        let strategy = self.record.truncation & 15;
        if b.is_none() && !left && strategy == 0 {
            let all = Kept {
                skip: 0,
                take: room,
            };
            return Ok(((all, all), 0));
        }
        let mut count = |text: &str| {
            let mut tokens = self.tokens(text, work)?;
            tokens.try_fold(0usize, |n, id| id.map(|_| n + 1))
        };
        let (all_n, all_m) = (count(a)?, b.map(&mut count).transpose()?.unwrap_or(0));
        // The crate stops to read a text after the word that fills the whole length: where texts are
        // compared, and where only the other one gives way, that counts as its end.
        let n = match strategy {
            2 => all_n,
            _ => self.counted((a, all_n), limit, left, work)?,
        };
        let m = self.counted((b.unwrap_or(""), all_m), limit, left, work)?;
        let over = (n + m).saturating_sub(room);
        let (take_n, take_m) = match strategy {
            _ if over == 0 => (n, m),
            _ if room == 0 => (0, 0),
            0 if b.is_none() => (room, 0),
            0 => longest_first(n, m, room),
            1 if n > over => (n - over, m),
            2 if m > over => (n, m - over),
            _ => {
                let needed = if strategy == 1 { n } else { m };
                return Err(TextError::CannotTruncate {
                    needed,
                    room: needed.saturating_sub(over),
                });
            }
        };
        let kept = |n: usize, take: usize| Kept {
            skip: if left { n - take } else { 0 },
            take,
        };
        let cut = all_n + all_m - take_n - take_m;
        Ok(((kept(all_n, take_n), kept(all_m, take_m)), cut))
    }

    /// Returns how many of a text's `n` tokens there are up to the end of the word that fills `limit`; from
    /// the right if the left is cut.
    fn counted(
        &self,
        (text, n): (&str, usize),
        limit: usize,
        left: bool,
        work: &mut [u32],
    ) -> Result<usize, TextError> {
        if n <= limit {
            return Ok(n);
        }
        let mut tokens = self.tokens(text, work)?;
        let (mut at, mut counted) = (0, n);
        // Tokens that stand in the text as they are end no count.
        let mut in_word = false;
        while let Some(id) = tokens.next() {
            id?;
            if left && tokens.begins && !tokens.added && n - at >= limit {
                counted = n - at;
            }
            if !left && tokens.begins && in_word && at >= limit {
                return Ok(at);
            }
            if tokens.begins {
                in_word = !tokens.added;
            }
            at += 1;
        }
        Ok(counted)
    }

    /// Fills the buffers up.
    fn pad(&self, len: usize, cut: usize, ids: &mut [u32], segments: &mut [u8]) -> Encoded {
        let (side, r) = (self.record.padding, self.record);
        let pad = self.special(Role::Pad).unwrap_or(0);
        let mut wanted = len;
        if side > 0 {
            if r.pad_length.get() > 0 {
                wanted = r.pad_length.get() as usize;
            }
            if r.pad_multiple.get() > 0 {
                let multiple = wanted.checked_next_multiple_of(r.pad_multiple.get().into());
                wanted = multiple.unwrap_or(wanted);
            }
        }
        let padded = wanted.clamp(len, ids.len().max(len));
        let start = if side == 2 { padded - len } else { 0 };
        if let Some(ids) = ids.get_mut(..padded) {
            ids.get_mut(len..).unwrap_or_default().fill(pad);
            ids.rotate_right(start);
        }
        if let Some(segments) = segments.get_mut(..padded) {
            let rest = segments.get_mut(len..).unwrap_or_default();
            rest.fill(r.pad_segment);
            segments.rotate_right(start);
        }
        Encoded {
            len,
            padded,
            start,
            cut,
        }
    }
}

/// Returns the lengths that two texts are cut to: the longer gives way until both are alike.
fn longest_first(n: usize, m: usize, room: usize) -> (usize, usize) {
    let (shorter, swap) = (n.min(m), n > m);
    let mut lengths = (shorter, shorter.max(room.saturating_sub(shorter)));
    if lengths.0 + lengths.1 > room {
        lengths = (room / 2, room / 2 + room % 2);
    }
    match swap {
        true => (lengths.1, lengths.0),
        false => lengths,
    }
}
