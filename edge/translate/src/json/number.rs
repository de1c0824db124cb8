//! Numbers as text: what stands between quotes in JSON, in a path or in a query string.
//!
//! Invariant: exact. A number that the type does not hold is refused, never rounded to one that it
//! does; a fraction of a floating-point number is all that may be lost.

/// Most digits an integer may shift by its exponent: no 64-bit number has more.
const SHIFT_MAX: u32 = 40;

/// Floating-point numbers up to here tell every integer from the next.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// An integer, also one written `1e3` or `1.50e1`.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()?
    } else {
        scaled(digits)?
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `12.5e1`: the digits of both parts, shifted by the exponent.
fn scaled(text: &str) -> Option<i128> {
    let parts = Parts::of(text)?;
    let fraction = parts.fraction.trim_end_matches('0');
    let digits = format!("{}{fraction}", parts.whole);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let shift = parts.exponent.checked_sub(fraction.len() as i64)?;
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    match u32::try_from(shift) {
        Ok(shift) if shift <= SHIFT_MAX => 10_i128
            .checked_pow(shift)?
            .checked_mul(digits.parse().ok()?),
        Ok(_) => None,
        Err(_) => {
            let cut = usize::try_from(shift.unsigned_abs()).ok()?;
            let kept = digits.get(..digits.len().checked_sub(cut)?)?;
            (cut <= zeros && !kept.is_empty()).then(|| kept.parse().ok())?
        }
    }
}

/// A JSON number without its sign, in parts.
struct Parts<'t> {
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let exponent = match exponent {
            None => 0,
            Some(text) if digits(text.strip_prefix(['+', '-']).unwrap_or(text)) => {
                text.parse().ok()?
            }
            Some(_) => return None,
        };
        digits(whole).then_some(Self {
            whole,
            fraction,
            exponent,
        })
    }
}

/// An integer of at most 32 bits that JSON wrote with a point or an exponent: the parser has made
/// a double of it, which tells integers apart up to 2^53.
pub(crate) fn integer_of(number: f64) -> Option<i128> {
    let exact = number.fract() == 0.0 && number.abs() <= EXACT_INTEGER_MAX;
    exact.then_some(number as i128)
}

/// A number, or one of the three that JSON has only words for.
pub(crate) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => {
            Parts::of(text.strip_prefix('-').unwrap_or(text))?;
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
    }
}

/// Like [`double`]; parsed as what it is, since rounding twice can give another number.
pub(crate) fn float(text: &str) -> Option<f32> {
    match double(text)? {
        special if !special.is_finite() => Some(special as f32),
        _ => text.parse().ok().filter(|number: &f32| number.is_finite()),
    }
}

/// A double as a float, if it has a place there.
pub(crate) fn float_of(number: f64) -> Option<f32> {
    let float = number as f32;
    float.is_finite().then_some(float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers() {
        let cases = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("007", Some(7)),
            ("-12", Some(-12)),
            ("1e3", Some(1000)),
            ("1E+3", Some(1000)),
            ("1.0", Some(1)),
            ("1.50e1", Some(15)),
            ("100e-2", Some(1)),
            ("0e999", Some(0)),
            ("0.0", Some(0)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807e0", Some(i128::from(i64::MAX))),
            ("1.5", None),
            ("1e-1", None),
            ("100e-3", None),
            ("1e41", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("1e", None),
            ("1e+", None),
            (" 1", None),
            ("0x1", None),
            ("1_000", None),
            ("١", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text), expected, "{text}");
        }
        assert_eq!(integer_of(1e3), Some(1000));
        assert_eq!(integer_of(1.5), None);
        assert_eq!(integer_of(f64::NAN), None);
        assert_eq!(integer_of(1e18), None, "a double next to it reads the same");
    }

    #[test]
    fn floats() {
        assert_eq!(double("1e-7"), Some(1e-7));
        for refused in [
            "inf", "nan", "infinity", "+1", ".5", "5.", "1e400", "", "0x1p3",
        ] {
            assert_eq!(double(refused), None, "{refused}");
            assert_eq!(float(refused), None, "{refused}");
        }
        assert_eq!(float("1e39"), None);
        assert_eq!(float("-Infinity"), Some(f32::NEG_INFINITY));
        assert_eq!(float_of(1e39), None);
        assert!(double("NaN").is_some_and(f64::is_nan));
    }

    proptest! {
        #[test]
        fn any_integer_in_any_notation(number: i64, zeros in 0_u32..6) {
            let plain = i128::from(number);
            prop_assert_eq!(integer(&number.to_string()), Some(plain));
            prop_assert_eq!(integer(&format!("{number}e{zeros}")), Some(plain * 10_i128.pow(zeros)));
            prop_assert_eq!(integer(&format!("{number}.000")), Some(plain));
        }

        #[test]
        fn any_text(text in "[-+0-9.eE]{0,12}") {
            let _ = integer(&text);
            let _ = double(&text);
        }
    }
}
