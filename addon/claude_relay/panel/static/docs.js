// Starts Swagger UI; what is tried from it brings the CSRF token, as any change does.
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
