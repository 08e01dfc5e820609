//! What checkers say about the weight of a server.

use serde::Serialize;

/// The largest weight that IPVS takes.
pub const MAX_WEIGHT: u32 = 2_147_483_647;

/// What one checker wants the weight of its server to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightAdvice {
    /// The configured weight: takes back what was advised before.
    Configured,
    /// This weight in place of the configured one (`misc_dynamic`).
    Absolute(u32),
    /// So much more than configured (`FILE_CHECK`).
    Add(i64),
    /// So many hundredths of what the others make it (`AGENT_CHECK`).
    Percent(u32),
}

/// The weight to program for a server that is configured with `configured`, given the advice of its checkers.
///
/// Contributions add up, as in keepalived; percentages then apply one after the other. A percentage above zero
/// never makes a weight above zero zero, for that would take the server out. The result is within what IPVS takes.
pub fn effective_weight(configured: u32, advice: impl IntoIterator<Item = WeightAdvice>) -> u32 {
    let configured = i128::from(configured);
    let mut sum = configured;
    let mut percents = Vec::new();
    for advice in advice {
        match advice {
            WeightAdvice::Configured => {}
            WeightAdvice::Absolute(weight) => sum += i128::from(weight) - configured,
            WeightAdvice::Add(more) => sum += i128::from(more),
            WeightAdvice::Percent(percent) => percents.push(i128::from(percent)),
        }
    }
    let clamp = |weight: i128| weight.clamp(0, i128::from(MAX_WEIGHT));
    let scale = |weight: i128, percent: i128| match (weight, percent) {
        (0, _) | (_, 0) => 0,
        _ => clamp((weight * percent / 100).max(1)),
    };
    let weight = percents.into_iter().fold(clamp(sum), scale);
    u32::try_from(weight).unwrap_or(MAX_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::WeightAdvice::{Absolute, Add, Configured, Percent};
    use super::*;

    #[test]
    fn advice_adds_up_and_stays_within_what_ipvs_takes() {
        let cases: &[(u32, &[WeightAdvice], u32)] = &[
            (10, &[], 10),
            (10, &[Configured], 10),
            (10, &[Absolute(3)], 3),
            (10, &[Absolute(0)], 0),
            (10, &[Add(5), Add(-3)], 12),
            (10, &[Add(-11)], 0),
            (10, &[Absolute(20), Add(5)], 25),
            (10, &[Percent(50)], 5),
            (10, &[Percent(0)], 0),
            (1, &[Percent(1)], 1),
            (10, &[Percent(50), Add(10)], 10),
            (MAX_WEIGHT, &[Percent(200)], MAX_WEIGHT),
            (u32::MAX, &[Add(i64::MAX), Add(i64::MAX)], MAX_WEIGHT),
            (0, &[Add(i64::MIN), Add(i64::MIN)], 0),
        ];
        for (configured, advice, weight) in cases {
            let advice = advice.iter().copied();
            assert_eq!(effective_weight(*configured, advice.clone()), *weight, "{configured} {advice:?}");
        }
    }
}
