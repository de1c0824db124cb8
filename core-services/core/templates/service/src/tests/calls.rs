//! The handlers: input rules, pages, refusals.

use std::sync::Arc;

use core_platform::{contracts::Contracts, cursor::Cursors, validate::Validator};
use core_proto::sample::v1::{
    CreateItemRequest, GetItemRequest, ListItemsRequest, sample_service_server::SampleService,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::*;
use crate::{DEFINITION, grpc::Rpcs};

async fn rpcs(at: &Database) -> Rpcs {
    let items = rules(at).await;
    let grpc = DEFINITION.grpc.iter().map(|grpc| (SERVICE, *grpc));
    let names: Vec<_> = grpc.collect();
    let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &names).unwrap();
    let vault = vault(&items.db).await;
    Rpcs {
        items,
        cursors: Cursors::new(&vault).unwrap(),
        validator: Arc::new(Validator::new(&contracts).unwrap()),
    }
}

/// As it is after the platform's layer has verified the token.
fn call<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

fn create(caller: &Caller, name: &str) -> Request<CreateItemRequest> {
    let name = name.to_owned();
    call(caller, CreateItemRequest { name })
}

fn page(caller: &Caller, page_token: &str) -> Request<ListItemsRequest> {
    let page_token = page_token.to_owned();
    let asked = ListItemsRequest {
        page_size: 2,
        page_token,
    };
    call(caller, asked)
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

both_databases! {
    #[tokio::test]
    async fn items_are_read_back_by_pages(at: Database) {
        let rpcs = rpcs(&at).await;
        let ada = somebody();
        for name in ["one", "two", "three"] {
            let created = rpcs.create_item(create(&ada, name)).await.unwrap();
            let id = created.get_ref().id.clone();
            let found = rpcs.get_item(call(&ada, GetItemRequest { id })).await.unwrap();
            assert_eq!(found.get_ref(), created.get_ref());
            assert_eq!(created.metadata().get("x-http-status").unwrap(), "201");
        }
        let first = rpcs.list_items(page(&ada, "")).await.unwrap().into_inner();
        let next = rpcs.list_items(page(&ada, &first.next_page_token)).await;
        let next = next.unwrap().into_inner();
        let names = first.items.iter().chain(&next.items).map(|item| item.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["three", "two", "one"]);
        assert_eq!(next.next_page_token, "");

        let stolen = rpcs.list_items(page(&somebody(), &first.next_page_token)).await;
        assert_eq!(reason(&stolen.unwrap_err()), "INVALID_PAGE_TOKEN");
    }

    #[tokio::test]
    async fn refusals_have_their_reasons(at: Database) {
        let rpcs = rpcs(&at).await;
        let ada = somebody();
        for name in ["", " engine", "engine ", "en\ngine", &"x".repeat(101)] {
            let refused = rpcs.create_item(create(&ada, name)).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_INPUT"));
        }
        rpcs.create_item(create(&ada, "engine")).await.unwrap();
        let refused = rpcs.create_item(create(&ada, "engine")).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "NAME_TAKEN"));
        let unknown = GetItemRequest { id: Uuid::now_v7().to_string() };
        let refused = rpcs.get_item(call(&ada, unknown)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "NO_SUCH_ITEM"));
    }
}
