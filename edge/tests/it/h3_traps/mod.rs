//! What goes wrong when HTTP/3 is put behind a proxy made for HTTP/1.1 and HTTP/2: each trap
//! was met once, and stays shut.

mod requests;
mod responses;

use crate::client::raw_h3::RawH3;
use crate::matrix::World;

async fn raw(world: &World) -> RawH3 {
    RawH3::connect(world.edge.https)
        .await
        .expect("a connection")
}
