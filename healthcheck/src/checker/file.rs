//! `FILE_CHECK`: a number in a file that somebody else writes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::smtp::shown;
use crate::deadline::{Deadlines, Limits};
use crate::outcome::{Cause, Findings, Outcome, Reason, Step};
use crate::weight::WeightAdvice;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FileCheck {
    pub path: Arc<Path>,
    pub rule: FileRule,
    pub deadlines: Deadlines,
}

/// What the number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FileRule {
    /// The weight of the server changes by the number times this. Zero: a number other than zero is a failure.
    pub weight: i32,
    /// Negates: less weight for more, and zero as the failure.
    pub reverse: bool,
}

/// More of a file than any number takes, in bytes.
const READ: u64 = 128;

/// A change of weight down to here means that the server is down.
const FAILURE: i64 = -2_147_483_648;

impl FileCheck {
    /// Reads on a thread of the runtime, which a file system that hangs keeps; the attempt ends all the same.
    pub(crate) async fn attempt(&self) -> Outcome {
        let limits = Limits::start(self.deadlines);
        match limits.step(Step::File, self.content()).await {
            Ok(Ok(content)) => self.rule.judge(&content),
            Ok(Err(error)) => Outcome::Down(Reason::FileUnreadable(Cause::of(&error))),
            Err(too_late) => Outcome::Down(too_late),
        }
    }

    async fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        match File::open(&self.path).await {
            Ok(file) => file.take(READ).read_to_end(&mut content).await.map(|_| content),
            // As in keepalived: a file that is not there says zero.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(content),
            Err(error) => Err(error),
        }
    }
}

impl FileRule {
    /// What follows from the content of the file. For those who follow it themselves.
    pub fn judge(self, content: &[u8]) -> Outcome {
        let Some(number) = parse_number(content) else {
            return Outcome::Down(Reason::FileMalformed(shown(content.trim_ascii()).into()));
        };
        let sign = if self.reverse { -1 } else { 1 };
        if self.weight == 0 {
            return match (number != 0) == self.reverse {
                true => up(WeightAdvice::Configured),
                false => Outcome::Down(Reason::FileNumber(number)),
            };
        }
        let product = number.saturating_mul(i64::from(self.weight)).saturating_mul(sign);
        if product <= FAILURE {
            Outcome::Down(Reason::FileNumber(number))
        } else {
            up(WeightAdvice::Add(product))
        }
    }
}

fn up(weight: WeightAdvice) -> Outcome {
    Outcome::Up(Findings { weight: Some(weight), ..Findings::default() })
}

/// The number at the beginning of a file: blanks, a sign, digits in the base of their prefix (`0x` sixteen, `0`
/// eight). Empty is zero, too large is the largest; what follows behind a blank is passed over. `None` without a
/// number.
pub fn parse_number(content: &[u8]) -> Option<i64> {
    let word = content.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    let Some(word) = word else { return Some(0) };
    let (negative, digits) = match word.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, word),
    };
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        _ => (10, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let digit = |b: &u8| char::from(*b).to_digit(base).map(i64::from);
    let base = i64::from(base);
    // Counted below zero, where there is room for one more.
    let number = digits
        .iter()
        .try_fold(0_i64, |number, b| Some(number.saturating_mul(base).saturating_sub(digit(b)?)))?;
    Some(if negative { number } else { number.checked_neg().unwrap_or(i64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_base_of_their_prefix() {
        let cases: &[(&str, Option<i64>)] = &[
            ("", Some(0)),
            (" \n", Some(0)),
            ("42\n", Some(42)),
            (" -7 rest", Some(-7)),
            ("+3", Some(3)),
            ("0x1F", Some(31)),
            ("-010", Some(-8)),
            ("0", Some(0)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(i64::MIN)),
            ("-", None),
            ("0x", None),
            ("08", None),
            ("12a", None),
            ("up", None),
        ];
        for (text, number) in cases {
            assert_eq!(parse_number(text.as_bytes()), *number, "{text:?}");
        }
    }

    #[test]
    fn number_times_weight_is_added_and_weight_zero_tests_for_zero() {
        let add = |n| up(WeightAdvice::Add(n));
        let down = |n| Outcome::Down(Reason::FileNumber(n));
        let cases = [
            (2, false, "5", add(10)),
            (2, true, "5", add(-10)),
            (1, false, "-2147483647", add(-2_147_483_647)),
            (1, false, "-2147483648", down(-2_147_483_648)),
            (1, true, "2147483648", down(2_147_483_648)),
            (0, false, "0", up(WeightAdvice::Configured)),
            (0, false, "1", down(1)),
            (0, true, "0", down(0)),
            (0, true, "-1", up(WeightAdvice::Configured)),
        ];
        for (weight, reverse, text, outcome) in cases {
            assert_eq!(
                FileRule { weight, reverse }.judge(text.as_bytes()),
                outcome,
                "{weight} {reverse} {text}"
            );
        }
    }
}
