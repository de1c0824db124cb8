//! `buf.validate` rules as keywords of JSON Schema; what has none is told in words.

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, MessageDescriptor, ReflectMessage,
    Value as Wire,
};
use serde_json::{Map, Value, json};

use crate::document::Version;
use crate::pattern::{escaped, portable};

/// `buf.validate.Ignore.IGNORE_ALWAYS`.
const IGNORE_ALWAYS: i32 = 3;
/// `buf.validate.Ignore.IGNORE_IF_ZERO_VALUE`.
const IGNORE_IF_ZERO: i32 = 1;

/// What a field's rules come to.
#[derive(Debug, Default)]
pub(crate) struct Ruled {
    /// Of the schema of the value.
    pub(crate) keywords: Map<String, Value>,
    /// Of the items of a list, of the values of a map.
    pub(crate) inner: Map<String, Value>,
    /// The field must be there.
    pub(crate) is_required: bool,
    /// Sentences.
    pub(crate) words: Vec<String>,
}

/// The rules of a field, where its file has any.
pub(crate) fn of_field(field: &FieldDescriptor, version: Version) -> Ruled {
    let mut ruled = Ruled::default();
    let Some(rules) = extension(
        field.parent_message().parent_pool(),
        &field.options(),
        "field",
    ) else {
        return ruled;
    };
    let ignore = number(&rules, "ignore").unwrap_or(0);
    if ignore == IGNORE_ALWAYS {
        return ruled;
    }
    let mut keywords = Keywords {
        version,
        names: field.kind().as_enum().cloned(),
        ..Keywords::default()
    };
    keywords.of(&rules);
    // A field without presence that is left out has its default, which the rules may refuse.
    let refuses_default =
        !field.supports_presence() && keywords.refuses_default && ignore != IGNORE_IF_ZERO;
    ruled.is_required = flag(&rules, "required") || refuses_default;
    ruled.keywords = keywords.map;
    ruled.inner = keywords.inner;
    ruled.words = keywords.words;
    ruled.words.extend(cel(&rules));
    ruled
}

/// What the rules of a message say in words.
pub(crate) fn of_message(message: &MessageDescriptor) -> Vec<String> {
    let rules = extension(message.parent_pool(), &message.options(), "message");
    rules.as_ref().map_or_else(Vec::new, cel)
}

fn extension(
    pool: &prost_reflect::DescriptorPool,
    options: &DynamicMessage,
    name: &str,
) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(&format!("buf.validate.{name}"))?;
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

/// Messages of CEL rules: the expressions are for machines.
fn cel(rules: &DynamicMessage) -> Vec<String> {
    let listed = get(rules, "cel");
    let listed = listed.as_ref().and_then(Wire::as_list).unwrap_or_default();
    let messages = listed
        .iter()
        .filter_map(|rule| text(rule.as_message()?, "message"));
    messages.map(|message| format!("{message}.")).collect()
}

#[derive(Default)]
struct Keywords {
    version: Version,
    /// Of the field, where it is one.
    names: Option<EnumDescriptor>,
    map: Map<String, Value>,
    inner: Map<String, Value>,
    words: Vec<String>,
    refuses_default: bool,
}

impl Keywords {
    fn of(&mut self, rules: &DynamicMessage) {
        let kinds = rules
            .descriptor()
            .oneofs()
            .find(|oneof| oneof.name() == "type");
        let kinds = kinds
            .iter()
            .flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
        for kind in kinds.filter(|kind| rules.has_field(kind)) {
            let value = rules.get_field(&kind);
            let Some(inner) = value.as_message() else {
                continue;
            };
            match kind.name() {
                "string" => self.string(inner),
                "bytes" => self.bytes(inner),
                "enum" => self.enumeration(inner),
                "repeated" => self.repeated(inner),
                "map" => self.pairs(inner),
                "bool" => self.constant(inner),
                "any" | "duration" | "field_mask" | "timestamp" => self.temporal(inner),
                "int64" | "uint64" | "sint64" | "fixed64" | "sfixed64" => self.long(inner),
                _ => self.number(inner),
            }
        }
    }

    fn set(&mut self, keyword: &str, value: impl Into<Value>) {
        self.map.insert(keyword.to_owned(), value.into());
    }

    fn one_of(&mut self, values: Vec<Value>) {
        match (values.len(), self.version) {
            (0, _) => {}
            (1, Version::V3_1) => self.set("const", values.into_iter().next()),
            _ => self.set("enum", values),
        }
    }

    fn constant(&mut self, rules: &DynamicMessage) {
        if let Some(value) = get(rules, "const").as_ref().and_then(json_of) {
            self.one_of(vec![value]);
        }
    }

    fn listed(&mut self, rules: &DynamicMessage) {
        let values = get(rules, "in");
        let values = values.as_ref().and_then(Wire::as_list).unwrap_or_default();
        self.one_of(values.iter().filter_map(json_of).collect());
    }

    fn string(&mut self, rules: &DynamicMessage) {
        self.constant(rules);
        self.listed(rules);
        let len = long(rules, "len");
        let least = long(rules, "min_len").or(len);
        let most = long(rules, "max_len").or(len);
        let bytes = long(rules, "len_bytes");
        let (least_bytes, most_bytes) = (
            long(rules, "min_bytes").or(bytes),
            long(rules, "max_bytes").or(bytes),
        );
        // JSON Schema counts characters, of which each is up to four bytes.
        if let Some(least) = least.max(least_bytes.map(|bytes| bytes.div_ceil(4))) {
            self.set("minLength", least);
        }
        if let Some(most) = [most, most_bytes].into_iter().flatten().min() {
            self.set("maxLength", most);
        }
        match (least_bytes.filter(|least| *least > 1), most_bytes) {
            (Some(least), Some(most)) => self
                .words
                .push(format!("{least} to {most} bytes in UTF-8.")),
            (Some(least), None) => self.words.push(format!("At least {least} bytes in UTF-8.")),
            (None, Some(most)) => self.words.push(format!("At most {most} bytes in UTF-8.")),
            (None, None) => {}
        }
        match pattern(rules).map(|pattern| portable(&pattern).ok_or(pattern)) {
            Some(Ok(pattern)) => self.set("pattern", pattern),
            Some(Err(pattern)) => self.words.push(format!("Matches `{pattern}` (RE2).")),
            None => {}
        }
        let formats = [
            ("email", "email"),
            ("hostname", "hostname"),
            ("ipv4", "ipv4"),
            ("ipv6", "ipv6"),
            ("uri", "uri"),
            ("uri_ref", "uri-reference"),
            ("uuid", "uuid"),
        ];
        let format = formats.into_iter().find(|(rule, _)| flag(rules, rule));
        if let Some((_, format)) = format {
            self.set("format", format);
        }
        let is_any = |value: &Option<u64>| value.is_some_and(|least| least > 0);
        self.refuses_default |= is_any(&least)
            || is_any(&least_bytes)
            || format.is_some_and(|(_, it)| it != "uri-reference");
    }

    fn bytes(&mut self, rules: &DynamicMessage) {
        let len = long(rules, "len");
        let (least, most) = (
            long(rules, "min_len").or(len),
            long(rules, "max_len").or(len),
        );
        match (least, most) {
            (Some(least), Some(most)) => self.words.push(format!("{least} to {most} bytes.")),
            (Some(least), None) => self.words.push(format!("At least {least} bytes.")),
            (None, Some(most)) => self.words.push(format!("At most {most} bytes.")),
            (None, None) => {}
        }
        self.refuses_default |= least.is_some_and(|least| least > 0);
    }

    /// Schemas of enums are shared: what a field takes of them is told.
    fn enumeration(&mut self, rules: &DynamicMessage) {
        let Some(names) = self.names.clone() else {
            return;
        };
        let named = |number: i32| {
            let value = names.get_value(number);
            value.map_or_else(|| number.to_string(), |value| format!("`{}`", value.name()))
        };
        let listed = |rule: &str| -> Vec<i32> {
            let values = get(rules, rule);
            let values = values.as_ref().and_then(Wire::as_list).unwrap_or_default();
            values.iter().filter_map(Wire::as_i32).collect()
        };
        let constant = get(rules, "const").and_then(|value| value.as_i32());
        let (mut taken, refused) = (listed("in"), listed("not_in"));
        taken.extend(constant);
        for (words, numbers) in [("One of", &taken), ("None of", &refused)] {
            if !numbers.is_empty() {
                let numbers: Vec<_> = numbers.iter().map(|number| named(*number)).collect();
                self.words.push(format!("{words} {}.", numbers.join(", ")));
            }
        }
        self.refuses_default |= refused.contains(&0) || (!taken.is_empty() && !taken.contains(&0));
    }

    fn number(&mut self, rules: &DynamicMessage) {
        self.constant(rules);
        self.listed(rules);
        let bound = |name: &str| get(rules, name).as_ref().and_then(json_of);
        for (rule, keyword) in [("gte", "minimum"), ("lte", "maximum")] {
            if let Some(value) = bound(rule) {
                self.set(keyword, value);
            }
        }
        for (rule, keyword, plain) in [
            ("gt", "exclusiveMinimum", "minimum"),
            ("lt", "exclusiveMaximum", "maximum"),
        ] {
            let Some(value) = bound(rule) else { continue };
            match self.version {
                Version::V3_1 => self.set(keyword, value),
                Version::V3_0 => {
                    self.set(plain, value);
                    self.set(keyword, true);
                }
            }
        }
        let least = |name: &str| bound(name).and_then(|value| value.as_f64());
        self.refuses_default |= least("gte").is_some_and(|least| least > 0.0)
            || least("gt").is_some_and(|least| least >= 0.0);
    }

    /// JSON has them as text, which no keyword bounds.
    fn long(&mut self, rules: &DynamicMessage) {
        let words = [
            ("gt", "More than"),
            ("gte", "At least"),
            ("lt", "Less than"),
            ("lte", "At most"),
        ];
        for (rule, words) in words {
            if let Some(value) = get(rules, rule).as_ref().and_then(json_of) {
                self.words.push(format!("{words} {value}."));
                let is_positive = !value.to_string().starts_with(['-', '0']);
                let is_zero = value == json!(0);
                self.refuses_default |=
                    (rule == "gte" && is_positive) || (rule == "gt" && (is_positive || is_zero));
            }
        }
    }

    fn repeated(&mut self, rules: &DynamicMessage) {
        if let Some(least) = long(rules, "min_items") {
            self.set("minItems", least);
            self.refuses_default |= least > 0;
        }
        if let Some(most) = long(rules, "max_items") {
            self.set("maxItems", most);
        }
        if flag(rules, "unique") {
            self.set("uniqueItems", true);
        }
        self.inner_of(rules, "items");
    }

    fn pairs(&mut self, rules: &DynamicMessage) {
        if let Some(least) = long(rules, "min_pairs") {
            self.set("minProperties", least);
            self.refuses_default |= least > 0;
        }
        if let Some(most) = long(rules, "max_pairs") {
            self.set("maxProperties", most);
        }
        self.inner_of(rules, "values");
    }

    fn inner_of(&mut self, rules: &DynamicMessage, name: &str) {
        let Some(inner) = get(rules, name) else {
            return;
        };
        let Some(inner) = inner.as_message() else {
            return;
        };
        let mut keywords = Self {
            version: self.version,
            names: self.names.clone(),
            ..Self::default()
        };
        keywords.of(inner);
        self.inner = keywords.map;
        self.words.extend(keywords.words);
    }

    fn temporal(&mut self, rules: &DynamicMessage) {
        for (rule, words) in [("lt_now", "In the past."), ("gt_now", "In the future.")] {
            if flag(rules, rule) {
                self.words.push(words.to_owned());
            }
        }
    }
}

/// Of the rule itself, or what `prefix`, `suffix` and `contains` say.
fn pattern(rules: &DynamicMessage) -> Option<String> {
    if let Some(pattern) = text(rules, "pattern") {
        return Some(pattern);
    }
    let literal = |name: &str| text(rules, name).map(|text| escaped(&text));
    let (prefix, suffix) = (literal("prefix"), literal("suffix"));
    let contains = literal("contains");
    match (prefix, contains, suffix) {
        (None, None, None) => None,
        (prefix, contains, suffix) => {
            let begin = prefix.map_or_else(String::new, |text| format!("^{text}"));
            let middle = contains.map_or_else(String::new, |text| format!(".*{text}"));
            let end = suffix.map_or_else(String::new, |text| format!(".*{text}$"));
            Some(format!("{begin}{middle}{end}"))
        }
    }
}

fn get(message: &DynamicMessage, name: &str) -> Option<Wire> {
    let field = message.descriptor().get_field_by_name(name)?;
    message
        .has_field(&field)
        .then(|| message.get_field(&field).into_owned())
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    get(message, name)
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}

fn number(message: &DynamicMessage, name: &str) -> Option<i32> {
    get(message, name)?.as_enum_number()
}

fn long(message: &DynamicMessage, name: &str) -> Option<u64> {
    get(message, name)?.as_u64()
}

fn text(message: &DynamicMessage, name: &str) -> Option<String> {
    let text = get(message, name)?.as_str()?.to_owned();
    (!text.is_empty()).then_some(text)
}

fn json_of(value: &Wire) -> Option<Value> {
    Some(match value {
        Wire::Bool(value) => json!(value),
        Wire::I32(value) => json!(value),
        Wire::I64(value) => json!(value),
        Wire::U32(value) => json!(value),
        Wire::U64(value) => json!(value),
        Wire::F32(value) => json!(value),
        Wire::F64(value) => json!(value),
        Wire::String(value) => json!(value),
        _ => return None,
    })
}
