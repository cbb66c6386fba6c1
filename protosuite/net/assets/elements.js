// Elements, made from templates. What people wrote is only ever set as text.

export const $ = (id) => document.getElementById(id);

/** A new element like that in the template `<id>-template`. */
export const clone = (id) => $(`${id}-template`).content.firstElementChild.cloneNode(true);

/** Set a text, unless it is that already: the same again would be read out again. */
export const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
