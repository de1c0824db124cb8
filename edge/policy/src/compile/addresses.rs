//! Client addresses: ranges as written, and named sets of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Compiler, quoted};
use crate::codes;
use crate::diagnostic::{Fault, Mark, shown, suggestion};
use crate::document::{AddressSetDoc, Document, Named as _, all};
use crate::field::{At, List, items};
use crate::model::AddressSet;

/// Sets of a policy.
const SETS_MAX: usize = 10_000;
/// Ranges of one set: more belong into several.
const RANGES_MAX: usize = 4_096;
/// Ranges and names of one condition.
const ITEMS_MAX: usize = 256;

/// Named sets, and the merged ones that conditions made of them.
#[derive(Default)]
pub(super) struct AddressSets {
    named: HashMap<String, Named>,
    /// By what the condition lists: where thousands of routes name a set, they share it.
    merged: HashMap<Vec<String>, Arc<AddressSet>>,
}

struct Named {
    ranges: Vec<IpNet>,
    mark: Mark,
    is_used: bool,
}

impl Compiler<'_> {
    /// To be called before any condition is compiled.
    pub(super) fn address_sets(&mut self, documents: &[Document]) {
        let sets = all(documents, |document| &document.address_sets);
        self.index(&sets, SETS_MAX);
        for at in sets {
            self.address_set(at);
        }
    }

    fn address_set(&mut self, at: &At<AddressSetDoc>) {
        let doc = &at.value;
        self.required_list(&doc.addresses, at.mark, AddressSetDoc::KIND, "addresses");
        let texts = self.texts(&doc.addresses, RANGES_MAX, |text| range(text).map(drop));
        let ranges = texts.iter().filter_map(|text| range(text).ok()).collect();
        let Some(name) = doc.name.given() else { return };
        if is_range(&name.value) {
            let message = format!(
                "{} is an address, and no name for a set",
                shown(&name.value)
            );
            self.report
                .push(name.mark, Fault::new(codes::BAD_NAME, message));
        }
        let set = Named {
            ranges,
            mark: name.mark,
            is_used: false,
        };
        self.shared.addresses.named.insert(name.value.clone(), set);
    }

    /// Sets that no condition names.
    pub(super) fn unused_address_sets(&mut self) {
        let named = self.shared.addresses.named.iter();
        for (name, set) in named.filter(|(_, set)| !set.is_used) {
            let message = format!("nothing uses {} {}", AddressSetDoc::KIND, quoted(name));
            let fault = Fault::warning(codes::UNUSED, message);
            self.report
                .push(set.mark, fault.hint("remove it, or refer to it"));
        }
    }

    /// None where nothing is given.
    pub(super) fn client_addresses(&mut self, list: &List<String>) -> Option<Arc<AddressSet>> {
        if let Some(list) = list.given()
            && list.value.is_empty()
        {
            let fault = Fault::new(codes::MISSING, "the list of client addresses is empty");
            self.report.push(
                list.mark,
                fault.hint("leave `client_addresses` out to match every client"),
            );
        }
        let mut texts = self.texts(list, ITEMS_MAX, |text| match text.contains(['/', ':']) {
            true => range(text).map(drop),
            false => Ok(()),
        });
        for item in items(list).filter(|item| !is_range(&item.value)) {
            let named = &mut self.shared.addresses.named;
            if let Some(set) = named.get_mut(&item.value) {
                set.is_used = true;
                continue;
            }
            if item.value.contains(['/', ':']) {
                continue;
            }
            let message = format!(
                "{} is neither an address nor the name of an address set",
                shown(&item.value)
            );
            let hint = suggestion(&item.value, named.keys().map(String::as_str));
            let fault = Fault::new(codes::UNKNOWN_NAME, message)
                .maybe_hint(hint)
                .wanted(AddressSetDoc::KIND, &item.value);
            self.report.push(item.mark, fault);
        }
        if texts.is_empty() {
            return None;
        }
        texts.sort();
        let AddressSets { named, merged } = &mut self.shared.addresses;
        if let Some(set) = merged.get(&texts) {
            return Some(set.clone());
        }
        let ranges = texts.iter().flat_map(|text| match range(text) {
            Ok(range) => vec![range],
            Err(_) => named
                .get(text)
                .map_or_else(Vec::new, |set| set.ranges.clone()),
        });
        let set = Arc::new(AddressSet::of(ranges));
        merged.insert(texts, set.clone());
        Some(set)
    }
}

fn is_range(text: &str) -> bool {
    range(text).is_ok()
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub(super) fn range(text: &str) -> Result<IpNet, Fault> {
    let fault = || {
        let message = format!("{} is not an address range", shown(text));
        Fault::new(codes::ADDRESS_RANGE, message)
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    // Not by ipnet's own parser, to which `010.0.0.0` is `10.0.0.0`.
    let parts = text.split_once('/').filter(|(_, length)| {
        !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit())
    });
    let range = parts
        .and_then(|(address, length)| IpNet::new(address.parse().ok()?, length.parse().ok()?).ok());
    let range =
        range.ok_or_else(|| fault().hint("write an address and a length, as in `10.0.0.0/8`"))?;
    if range != range.trunc() {
        return Err(fault().hint(format!("the range is `{}`", range.trunc())));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_ranges() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.1/8", None),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("010.0.0.0/8", None),
            ("localhost", None),
            ("", None),
            ("10.0.0.0/8 ", None),
        ] {
            let parsed = range(text).ok().map(|range| range.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }
}
