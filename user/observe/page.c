/* SPDX-License-Identifier: BSD-2-Clause */
#include "observe/page.h"

/* The assembler puts the file there as it is; paths are the build's, from the project's folder. */
#define FILE_OF(name, file)                                                                        \
	__asm__(".section .rodata\n"                                                               \
		".global page_" #name "\n"                                                         \
		"page_" #name ":\n"                                                                \
		".incbin \"user/observe/page/" file "\"\n"                                         \
		".global page_" #name "_end\n"                                                     \
		"page_" #name "_end:\n"                                                            \
		".byte 0\n"                                                                        \
		".previous\n");                                                                    \
	extern const char page_##name[], page_##name##_end[];

FILE_OF(html, "index.html")
FILE_OF(css, "page.css")
FILE_OF(js, "page.js")
FILE_OF(icon, "icon.svg")

const struct page_file page_files[PAGE_FILE_CNT] = {
	{ "/", "text/html; charset=utf-8", page_html, page_html_end },
	{ "/page.css", "text/css; charset=utf-8", page_css, page_css_end },
	{ "/page.js", "text/javascript; charset=utf-8", page_js, page_js_end },
	{ "/icon.svg", "image/svg+xml", page_icon, page_icon_end },
};
