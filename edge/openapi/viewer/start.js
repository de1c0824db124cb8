// Starts Swagger UI on the document that the page names. Who has signed in stays signed in for as
// long as the tab is open: credentials are kept in the session storage, never in the local one.
"use strict";

const KEPT = "palisade.authorized";

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) || "{}");
  } catch {
    return {};
  }
}

function keep(all) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(all));
  } catch {
    // A browser that keeps nothing asks again.
  }
}

function keepsAuthorized() {
  return {
    statePlugins: {
      auth: {
        wrapActions: {
          authorize: (original) => (payload) => {
            keep({ ...kept(), ...payload });
            return original(payload);
          },
          logout: (original) => (names) => {
            const all = kept();
            names.forEach((name) => delete all[name]);
            keep(all);
            return original(names);
          },
        },
      },
    },
  };
}

const ui = SwaggerUIBundle({
  url: document.querySelector("meta[name=openapi]").content,
  dom_id: "#viewer",
  deepLinking: true,
  displayRequestDuration: true,
  // Its default asks a server of the makers.
  validatorUrl: null,
  plugins: [keepsAuthorized],
  onComplete: () => {
    const all = kept();
    if (Object.keys(all).length > 0) {
      ui.authActions.authorize(all);
    }
  },
});
