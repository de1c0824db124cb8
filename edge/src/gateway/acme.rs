//! The answer to a certificate authority that checks a name by http-01 (RFC 8555, 8.3).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::{Gateway, connection};
use crate::listen::Listener;
use crate::request_ctx::RequestCtx;

const PATH: &str = "/.well-known/acme-challenge/";

impl Gateway {
    /// Whether the request was answered. Only a pending token is: all else under the path belongs
    /// to the routes. Ahead of the redirect to https, since there may be no certificate yet.
    pub(super) async fn answer_acme(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
    ) -> Result<bool> {
        let head = session.req_header();
        let token = head.uri.path().strip_prefix(PATH);
        let (Some(token), &Method::GET) = (token, &head.method) else {
            return Ok(false);
        };
        if connection(session)?.listener != Listener::Http {
            return Ok(false);
        }
        let Some(answer) = self.acme.key_authorization(token) else {
            return Ok(false);
        };
        let mut header = ResponseHeader::build(StatusCode::OK, Some(5))?;
        header.insert_header(CONTENT_TYPE, "application/octet-stream")?;
        header.insert_header(CONTENT_LENGTH, answer.len())?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        self.own_headers(&mut header, session, ctx)?;
        // A GET with a body is no authority's; whatever follows the head is not read.
        session.set_keepalive(None);
        session
            .write_response_header(Box::new(header), false)
            .await?;
        session
            .write_response_body(Some(Bytes::from(answer)), true)
            .await?;
        Ok(true)
    }
}
