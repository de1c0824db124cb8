//! QUIC itself under an independent client: frames that carry nothing, and early data.

use serde_json::json;

use super::{MIB, Meter, refused};
use crate::h3_cases::script;
use crate::matrix::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_and_early_data_is_not_taken() {
    let world = World::start().await;
    let meter = Meter::start(&world.edge);
    let results = script(&world, "h3_transport.py").await;
    assert_eq!(results["pings"], "close:0x107");
    assert_eq!(refused(&world, "quic_noise").await, 1.0);
    assert_eq!(
        results["connection_ids"],
        json!({ "used": 1_000, "status": "200" }),
        "each id retired is followed by another, and costs nothing that stays"
    );
    meter.assert(10.0, 32 * MIB);
    let expected = json!({
        "offered": null, "sent_early": true, "accepted": false, "resumed": true, "status": "200",
    });
    assert_eq!(results["early_data"], expected);
    assert_eq!(world.origin.record().count("/echo/early"), 1);
}
