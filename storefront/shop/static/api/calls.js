"use strict";
/* Shows the description on /v1/docs. In a file of its own: the content policy lets no script stand in a page. */
const place = document.getElementById("calls");
SwaggerUIBundle({
  url: place.dataset.description,
  domNode: place,
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  // No validator of somebody else's is asked.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
