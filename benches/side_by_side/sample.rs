//! Middle and worst of a few numbers.

/// Numbers of the same kind, at least one.
#[derive(Clone, Debug)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// `None` of no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        (!numbers.is_empty()).then_some(Self(numbers))
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let upper = self.0.get(middle).copied().unwrap_or_default();
        match self.0.len() % 2 {
            0 => (self.0.get(middle - 1).copied().unwrap_or(upper) + upper) / 2.0,
            _ => upper,
        }
    }

    pub(crate) fn best(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn worst(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}
