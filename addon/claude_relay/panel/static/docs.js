// Starts Swagger UI; what is tried from it brings the CSRF token, as any change does.
export function begin(element) {
  const csrf = document.querySelector('meta[name="csrf"]')?.content;
  const start = () => window.SwaggerUIBundle({
    url: "/api/openapi.json",
    domNode: element,
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    requestInterceptor: (request) => {
      if (csrf) request.headers["X-CSRF-Token"] = csrf;
      return request;
    },
  });
  if (window.SwaggerUIBundle) start();
  else document.querySelector('script[src$="swagger-ui-bundle.js"]').addEventListener("load", start);
}
