//! The order in which an epoch visits its samples: a permutation computed, not stored.
//!
//! An eight-round Feistel network over the next power of two, walked until the result is in range,
//! keyed by seed and epoch. It takes no RAM, so it serves samples in flash as well, and it is
//! integer arithmetic: the same order on every target.

/// A permutation of `0..len`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shuffle {
    len: u32,
    /// Width of the right part of an index, in bits; the left one has `left`.
    right: u32,
    left: u32,
    key: u32,
}

/// Returns the 32 bits mixed (a bijection: "lowbias32" of C. Wellons' hash prospector).
pub(crate) const fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl Shuffle {
    /// Returns the permutation of `0..len` that belongs to a seed and an epoch.
    pub(crate) const fn new(len: u32, seed: u32, epoch: u32) -> Self {
        let last = len.saturating_sub(1);
        let bits = u32::BITS - last.leading_zeros();
        let bits = if bits < 2 { 2 } else { bits };
        Self {
            len,
            right: bits / 2,
            left: bits - bits / 2,
            key: mix(mix(seed ^ 0x9e37_79b9) ^ epoch),
        }
    }

    /// Returns where the `position`-th visit goes. Positions outside `0..len` stay as they are.
    pub(crate) fn index(&self, position: u32) -> u32 {
        if position >= self.len {
            return position;
        }
        // The network permutes a set that holds `position`, so the walk comes back into range.
        let mut x = position;
        loop {
            x = self.rounds(x);
            if x < self.len {
                return x;
            }
        }
    }

    fn rounds(&self, x: u32) -> u32 {
        let low = |bits: u32| u32::MAX >> (u32::BITS - bits);
        let (mut l, mut r) = (x >> self.right, x & low(self.right));
        // Half as many make small sets visibly uneven.
        for round in 0..4 {
            let key = self.key.wrapping_add(0x9e37_79b9u32.wrapping_mul(round));
            l ^= mix(r ^ key) & low(self.left);
            r ^= mix(l ^ key.rotate_left(16)) & low(self.right);
        }
        (l << self.right) | r
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_length_is_permuted() {
        for len in (0..300).chain([1 << 12, (1 << 12) + 1, 60_000]) {
            let shuffle = Shuffle::new(len, 7, len);
            let mut seen: Vec<u32> = (0..len).map(|i| shuffle.index(i)).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..len), "{len}");
        }
        let _ = Shuffle::new(u32::MAX, 1, 1).index(u32::MAX - 1);
    }

    /// Over many epochs every sample is about as often in every place.
    #[test]
    fn places_are_even() {
        const N: usize = 10;
        let mut counts = [[0u32; N]; N];
        for epoch in 0..20_000 {
            let shuffle = Shuffle::new(N as u32, 3, epoch);
            for (place, row) in counts.iter_mut().enumerate() {
                row[shuffle.index(place as u32) as usize] += 1;
            }
        }
        for count in counts.as_flattened() {
            assert!((1800..2200).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn seeds_and_epochs_differ() {
        let order = |seed, epoch| -> Vec<u32> {
            let shuffle = Shuffle::new(50, seed, epoch);
            (0..50).map(|i| shuffle.index(i)).collect()
        };
        assert_eq!(order(1, 2), order(1, 2));
        assert_ne!(order(1, 2), order(1, 3));
        assert_ne!(order(1, 2), order(2, 2));
    }
}
