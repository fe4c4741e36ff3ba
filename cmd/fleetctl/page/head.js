"use strict";
document.documentElement.classList.add("script"); // the rows wait for the script below, which knows how many fit
