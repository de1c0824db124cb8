//! Stable ids of every fault; the language reference explains each, and a test holds it to that.

pub(crate) const UNREADABLE: &str = "P001";
pub(crate) const TOO_MUCH: &str = "P002";
pub(crate) const REACHED_TWICE: &str = "P003";
pub(crate) const NO_FILES: &str = "P004";
pub(crate) const SYNTAX: &str = "P010";
pub(crate) const DUPLICATE_KEY: &str = "P011";
pub(crate) const UNKNOWN_KEY: &str = "P012";
pub(crate) const WRONG_TYPE: &str = "P013";
pub(crate) const MISSING: &str = "P014";
pub(crate) const VERSION: &str = "P015";
pub(crate) const REFUSED_YAML: &str = "P016";
pub(crate) const CHOICE: &str = "P017";
pub(crate) const BAD_NAME: &str = "P020";
pub(crate) const DEFINED_TWICE: &str = "P021";
pub(crate) const UNKNOWN_NAME: &str = "P022";
pub(crate) const REPEATED: &str = "P023";
pub(crate) const DURATION: &str = "P030";
pub(crate) const SIZE: &str = "P031";
pub(crate) const RATE: &str = "P032";
pub(crate) const OUT_OF_RANGE: &str = "P033";
pub(crate) const ENDPOINT: &str = "P034";
pub(crate) const HEADER: &str = "P035";
pub(crate) const PROTECTED_HEADER: &str = "P036";
pub(crate) const METHOD: &str = "P037";
pub(crate) const HOST: &str = "P038";
pub(crate) const PATH: &str = "P039";
pub(crate) const TEMPLATE: &str = "P040";
pub(crate) const TEXT: &str = "P041";
pub(crate) const SAME_MATCH: &str = "P042";
pub(crate) const CONTRADICTION: &str = "P043";
pub(crate) const INPUT_FILE: &str = "P050";
pub(crate) const PEM: &str = "P051";
pub(crate) const KEY_MISMATCH: &str = "P052";
pub(crate) const SERVER_NAME: &str = "P053";
pub(crate) const DESCRIPTORS: &str = "P054";
pub(crate) const NO_DESCRIPTORS: &str = "P055";
pub(crate) const REVOCATION_LIST: &str = "P056";
pub(crate) const ISSUER: &str = "P060";
pub(crate) const ADDRESS_RANGE: &str = "P070";

// Lints: the policy is used all the same.
pub(crate) const UNUSED: &str = "P201";
pub(crate) const TIMEOUT_WITHOUT_EFFECT: &str = "P202";
pub(crate) const WITHOUT_CERTIFICATE: &str = "P203";
pub(crate) const UNREACHABLE_BACKEND: &str = "P204";
pub(crate) const TOKEN_IN_PLAIN_TEXT: &str = "P205";
