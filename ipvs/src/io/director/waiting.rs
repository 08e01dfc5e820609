//! Frames whose neighbour is not known yet.

use std::time::{Duration, Instant};

use crate::engine::address::Address;
use crate::io::virtio::Header;

/// Frames that wait at most. More are lost: a neighbour that takes longer than a few round trips is none.
const MOST: usize = 256;
const PATIENCE: Duration = Duration::from_secs(3);
/// How often they are tried, should nobody say that a neighbour is known.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Held {
    pub(super) header: Header,
    pub(super) frame: Vec<u8>,
    pub(super) to: Address,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    frames: Vec<(Instant, Held)>,
    again: Option<Instant>,
}

/// It is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl Waiting {
    /// A frame that has waited since `begun`.
    pub(super) fn push(&mut self, held: Held, begun: Instant, now: Instant) -> Result<(), Lost> {
        if self.frames.len() >= MOST || now.saturating_duration_since(begun) >= PATIENCE {
            return Err(Lost);
        }
        self.frames.push((begun, held));
        self.again.get_or_insert(now + AGAIN);
        Ok(())
    }

    /// All of them, with the times since when; those that go on waiting are to be pushed again.
    pub(super) fn take(&mut self) -> Vec<(Instant, Held)> {
        self.again = None;
        std::mem::take(&mut self.frames)
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        Held { header: Header::default(), frame: vec![0; 60], to: Address::UNSPECIFIED }
    }

    #[test]
    fn frames_wait_so_long_and_so_many() {
        let begin = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.poll_timeout(), None);
        for _ in 0..MOST {
            waiting.push(held(), begin, begin).expect("there is room");
        }
        assert_eq!(waiting.push(held(), begin, begin), Err(Lost));
        assert_eq!(waiting.poll_timeout(), Some(begin + AGAIN));
        assert_eq!(waiting.take().len(), MOST);
        assert_eq!(waiting.poll_timeout(), None);
        assert_eq!(waiting.push(held(), begin, begin + PATIENCE), Err(Lost));
        assert_eq!(waiting.push(held(), begin, begin + PATIENCE / 2), Ok(()));
    }
}
