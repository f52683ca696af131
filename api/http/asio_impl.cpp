// The one translation unit that holds the bodies of Boost.Asio and Boost.Beast; the others see declarations.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
