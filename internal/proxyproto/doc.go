// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2, in which a proxy says before
// the first byte of a connection whom it makes it for. The standard is HAProxy's proxy-protocol.txt; comments quote its
// sections.
//
//	n, err := proxyproto.Parse(buf, &h)
//	switch err {
//	case nil:                     // buf[n:] is the client's, and h says who that is
//	case proxyproto.ErrNeedMore:  // read on, and ask again with all of it
//	case proxyproto.ErrNoHeader:  // these bytes are something else
//	default:                      // a header that is refused
//	}
//
// It does no I/O, allocates nothing and keeps nothing: a header is so short that it is looked at anew when more of it has
// come. It knows nothing of who may be believed, nor of HTTP, which is why it is no part of httpparse: a connection with
// such a header may carry anything.
//
// Limitations: the paths of unix sockets are not returned, and TLVs are checked for their lengths but not interpreted,
// except for the checksum.
package proxyproto
