//! Answers made smaller on their way to the client.
//!
//! A module of Pingora's and not a filter of ours: only modules are told of every way in which an
//! answer can end.

use std::any::Any;
use std::io::Write;
use std::sync::Mutex;

use async_trait::async_trait;
use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use palisade_policy::model::Coding;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Gateway;
use crate::request_ctx::RequestCtx;
use crate::stages::compression::{self, Choice};

const FAILED: ErrorType = ErrorType::new("CompressionFailed");

/// More takes much longer for a few percent.
const GZIP_LEVEL: u32 = 5;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Base-2 logarithm of the window in bytes: 512 KiB of memory for each answer under way.
const WINDOW_LOG: u32 = 19;
const BROTLI_BUFFER_BYTES: usize = 4096;

impl Gateway {
    /// The head is as it will be sent but for this.
    pub(super) fn compress(
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &RequestCtx,
    ) -> Result<()> {
        let Some(rule) = ctx.admitted()?.route.compression.as_ref() else {
            return Ok(());
        };
        let request = session.req_header();
        let choice = compression::choose(rule, request, ctx.dialect, response);
        let has_body = request.method != Method::HEAD;
        // What has no length yet is being made, and somebody waits for each piece.
        let flushes = !response.headers.contains_key(CONTENT_LENGTH);
        compression::tell(response, choice, request.version, has_body)?;
        if let Choice::Coded(coding) = choice
            && has_body
            && let Some(module) = session.downstream_modules_ctx.get_mut::<Compressing>()
        {
            module.0 = Some(Stream::new(coding, flushes)?);
        }
        Ok(())
    }
}

/// One for each request, idle until its answer is to be compressed.
#[derive(Default)]
pub(super) struct Compressing(Option<Stream>);

/// Makes them.
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Compressing::default())
    }
}

#[async_trait]
impl HttpModule for Compressing {
    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(stream) = &mut self.0 else {
            return Ok(());
        };
        let piece = body.take().unwrap_or_default();
        let mut coded = stream.write(&piece)?;
        if end {
            coded = self.finish(coded)?;
        }
        // An empty piece would be the end to an HTTP/1.1 client.
        *body = (!coded.is_empty()).then(|| coded.into());
        Ok(())
    }

    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.response_done_filter()
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        if self.0.is_none() {
            return Ok(None);
        }
        self.finish(Vec::new()).map(|rest| Some(rest.into()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Compressing {
    /// What was written last, and all that is left.
    fn finish(&mut self, mut coded: Vec<u8>) -> Result<Vec<u8>> {
        if let Some(stream) = self.0.take() {
            coded.extend(stream.finish()?);
        }
        Ok(coded)
    }
}

/// An answer under way.
struct Stream {
    /// Never locked: a module must be `Sync`, and encoders are not.
    encoder: Mutex<Encoder>,
    flushes: bool,
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Stream {
    fn new(coding: Coding, flushes: bool) -> Result<Self> {
        let encoder = match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)
                    .or_err(FAILED, "zstd")?;
                encoder.window_log(WINDOW_LOG).or_err(FAILED, "zstd")?;
                Encoder::Zstd(encoder)
            }
            Coding::Brotli => Encoder::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                BROTLI_LEVEL,
                WINDOW_LOG,
            ))),
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Encoder::Gzip(GzEncoder::new(Vec::new(), level))
            }
        };
        Ok(Self {
            encoder: Mutex::new(encoder),
            flushes,
        })
    }

    fn write(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        let encoder = self.encoder.get_mut().map_err(|_| poisoned())?;
        let writer: &mut dyn Write = match encoder {
            Encoder::Zstd(encoder) => encoder,
            Encoder::Brotli(encoder) => &mut **encoder,
            Encoder::Gzip(encoder) => encoder,
        };
        writer.write_all(piece).or_err(FAILED, "in a piece")?;
        if self.flushes && !piece.is_empty() {
            writer.flush().or_err(FAILED, "in a flush")?;
        }
        Ok(std::mem::take(match encoder {
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Gzip(encoder) => encoder.get_mut(),
        }))
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self.encoder.into_inner().map_err(|_| poisoned())? {
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Gzip(encoder) => encoder.finish(),
        }
        .or_err(FAILED, "at the end")
    }
}

fn poisoned() -> Box<Error> {
    Error::explain(FAILED, "a piece before this one failed")
}
