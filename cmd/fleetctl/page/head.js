"use strict";
document.documentElement.classList.add("script"); // what needs the script below is not hidden then
