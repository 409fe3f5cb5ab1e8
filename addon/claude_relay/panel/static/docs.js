// Starts Swagger UI; what is tried brings the CSRF token.
import { csrf } from "./api.js";

export function begin(element) {
  window.SwaggerUIBundle({
    url: "/api/openapi.json",
    domNode: element,
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    requestInterceptor: (request) => {
      request.headers["X-CSRF-Token"] = csrf();
      return request;
    },
  });
}
