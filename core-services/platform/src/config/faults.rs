//! What is wrong with the settings, all of it, so that it is mended in one go.
//! Invariant: a value that is left out has left a fault.
//! Refuses to order or to drop: faults are told in the order of the settings.

use std::error::Error;

/// Each in the operator's words: which setting, its value unless that is secret, and
/// what to write instead.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl<E: Error> From<E> for Faults {
    fn from(error: E) -> Self {
        Self(vec![error.to_string()])
    }
}

impl Faults {
    /// Of one setting.
    pub fn all(errors: impl IntoIterator<Item: Error>) -> Self {
        Self(errors.into_iter().map(|error| error.to_string()).collect())
    }

    /// The value; without one its faults are kept.
    pub fn check<T>(&mut self, value: Result<T, impl Into<Self>>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(faults) => {
                self.0.append(&mut faults.into().0);
                None
            }
        }
    }

    /// What is made of checked values, which are all there if there was no fault.
    ///
    /// # Errors
    /// The faults.
    pub fn settle<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, Self> {
        match make() {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(self),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_hides_no_other() {
        let mut inner = Faults::default();
        assert_eq!(inner.check("1".parse::<u8>()), Some(1));
        assert_eq!(inner.check("x".parse::<u8>()), None);
        let inner = inner.settle(|| Some(()));
        let mut faults = Faults::default();
        assert_eq!(faults.check(inner), None);
        assert_eq!(faults.check("".parse::<u8>()), None);
        let faults = faults.settle(|| Some(())).unwrap_err();
        let told: Vec<_> = faults.iter().collect();
        assert_eq!(
            told,
            [
                "invalid digit found in string",
                "cannot parse integer from empty string"
            ]
        );
    }

    #[test]
    fn without_a_fault_there_is_a_value() {
        let mut faults = Faults::default();
        let value = faults.check("1".parse::<u8>());
        assert_eq!(faults.settle(|| Some(value? + 1)), Ok(2));
    }
}
