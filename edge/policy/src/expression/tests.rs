//! Expressions against a request, and what is said of broken ones.

use super::*;

#[test]
fn placeholder() {
    for source in ["claims.tenant == 'a'", "request.methd == 'GET'", "(((", "request.method ==", "claims.a &&\n  foo(1)"] {
        println!("{source} -> {:?}", Expression::compile(source));
    }
}
